package stdio

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// However the stream is cut and however long a line is, the next one begins
// where a line feed says so.
func TestLineReaderStaysInStep(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const most = 50_000
		piece := rapid.OneOf(
			rapid.StringMatching(`[a-z\r]{0,10}`),
			rapid.Map(rapid.IntRange(0, 3*most), func(n int) string { return strings.Repeat("x", n) }),
		)
		lines := rapid.SliceOfN(piece, 1, 8).Draw(t, "lines")
		var in io.Reader = strings.NewReader(strings.Join(lines, "\n"))
		if rapid.Bool().Draw(t, "halved") {
			in = iotest.HalfReader(in)
		}
		var want, got []string
		for i, line := range lines {
			line = strings.TrimSuffix(line, "\r")
			if len(line) > most {
				line = line[:most] + "…"
			}
			if i < len(lines)-1 || line != "" {
				want = append(want, line)
			}
		}
		r := newLineReader(in, most)
		for {
			line, long, err := r.next()
			if long {
				line = append(line, "…"...)
			}
			if err == nil || len(line) > 0 {
				got = append(got, string(line))
			}
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Fatal(err)
				}
				break
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("lines (-want +got):\n%.1000s", diff)
		}
	})
}

func TestLineReaderPassesErrorsOn(t *testing.T) {
	r := newLineReader(iotest.TimeoutReader(iotest.OneByteReader(bytes.NewReader([]byte("ab")))), 10)
	if line, long, err := r.next(); string(line) != "a" || long || !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("%q, %v, %v", line, long, err)
	}
}

// A reader that is told of a line that is too long is told at once, not when
// it ends: it may never end.
func TestLineReaderDoesNotWaitForTheEnd(t *testing.T) {
	in, out := io.Pipe()
	go func() { _, _ = out.Write(bytes.Repeat([]byte("x"), 100_000)) }()
	line, long, err := newLineReader(in, 10).next()
	if string(line) != "xxxxxxxxxx" || !long || err != nil {
		t.Errorf("%q, %v, %v", line, long, err)
	}
	in.Close()
}
