package stdio

import (
	"bufio"
	"bytes"
	"errors"
	"io"
)

// lineReader cuts a byte stream into lines of bounded length.
type lineReader struct {
	r    *bufio.Reader
	max  int
	skip bool // the rest of a line that was too long comes next
}

func newLineReader(r io.Reader, longest int) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 32<<10), max: longest}
}

// next returns the next line without its line end (LF, or CR LF) as bytes of
// its own. A longer line than allowed is reported as soon as that is known,
// with its beginning; the call after that skips the rest of it. What follows
// the last line end comes with the error, io.EOF at the end.
func (l *lineReader) next() (line []byte, long bool, err error) {
	for {
		part, err := l.r.ReadSlice('\n')
		more := errors.Is(err, bufio.ErrBufferFull)
		if l.skip {
			l.skip = more
			if err != nil && !more {
				return nil, false, err
			}
			continue
		}
		line = append(line, part...)
		if body := trimLineEnd(line); len(body) > l.max {
			l.skip = more
			if more {
				err = nil
			}
			return body[:l.max], true, err
		} else if !more {
			return body, false, err
		}
	}
}

func trimLineEnd(b []byte) []byte {
	b = bytes.TrimSuffix(b, []byte{'\n'})
	return bytes.TrimSuffix(b, []byte{'\r'})
}

func isBlank(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 }
