package proxy

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestReadAll(t *testing.T) {
	const limit = 1 << 20
	whole := bytes.Repeat([]byte("0123456789"), limit/10+1)[:limit+1]
	broken := errors.New("broken")
	for _, c := range []struct {
		name         string
		sent, length int
		end, err     error
	}{
		{"short", 10, 10, nil, nil},
		{"as long as is set aside at first", claimed, claimed, nil, nil},
		{"longer than that", claimed + 1, claimed + 1, nil, nil},
		{"as long as the limit", limit, limit, nil, nil},
		{"nothing, as it says", 0, 0, nil, nil},
		{"not measured", 10, -1, nil, nil},
		{"a length that was left out", 10, 0, nil, nil},
		{"not measured, as long as the limit", limit, -1, nil, nil},
		{"says that it is too long", 10, limit + 1, nil, errTooLong},
		{"is too long", limit + 1, -1, nil, errTooLong},
		{"is longer than it says", 11, 10, nil, errTooLong},
		{"is not there", 0, 10, nil, io.ErrUnexpectedEOF},
		{"is shorter than it says", 9, 10, nil, io.ErrUnexpectedEOF},
		{"ends after the first part", claimed, limit, nil, io.ErrUnexpectedEOF},
		{"ends in the second part", 2 * claimed, limit, nil, io.ErrUnexpectedEOF},
		{"breaks", 9, 10, broken, broken},
		{"breaks in the second part", 2 * claimed, limit, broken, broken},
		{"breaks at the end", 10, 10, broken, broken},
		{"breaks, not measured", 10, -1, broken, broken},
	} {
		var r io.Reader = bytes.NewReader(whole[:c.sent])
		if c.end != nil {
			r = io.MultiReader(r, iotest.ErrReader(c.end))
		}
		b, err := readAll(iotest.DataErrReader(r), int64(c.length), limit)
		if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
		if err == nil && !bytes.Equal(b, whole[:c.sent]) {
			t.Errorf("%s: %d bytes, want %d", c.name, len(b), c.sent)
		}
	}
}

func TestReadAllReadsIntoOneBuffer(t *testing.T) {
	body := make([]byte, 64<<10)
	if n := testing.AllocsPerRun(20, func() {
		if b, err := readAll(bytes.NewReader(body), int64(len(body)), 1<<20); err != nil || cap(b) != len(body) {
			t.Errorf("%d bytes in %d, %v", len(b), cap(b), err)
		}
	}); n > 3 { // the buffer, the reader, and the byte beyond the end
		t.Errorf("%v allocations", n)
	}
}
