package quota

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"
)

// drawLog draws a log as it can come about.
func drawLog(t *rapid.T) *log {
	at := start.UnixMicro()
	l := newLog(at)
	windows := []Window{window("1m"), window("24h"), window("month", "Europe/Berlin"), window("1m", "", "20")}
	most := rapid.IntRange(16, 64).Draw(t, "most")
	for range rapid.IntRange(0, 100).Draw(t, "takes") {
		at += rapid.Int64Range(0, 10_000_000).Draw(t, "step")
		w := terms{amount("1000000"), rapid.SampledFrom(windows).Draw(t, "window")}
		l.ask(w, at)
		l.take(w, amount(text(t)), most)
	}
	return l
}

func TestStateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLog(t)
		b := l.encode()
		got, err := decodeLog(b)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got.encode(), b) || len(got.entries) != len(l.entries) || got.now().scaled.Cmp(&l.now().scaled) != 0 {
			t.Fatalf("%+v became %+v", l, got)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if _, err := decodeLog(b[:cut]); err == nil {
			t.Fatalf("%d of %d bytes were read", cut, len(b))
		}
	})
}

func FuzzState(f *testing.F) {
	f.Add(newLog(1).encode())
	l := newLog(1)
	w := terms{amount("10"), window("1m", "", "5")}
	l.ask(w, 5)
	l.take(w, amount("2.5"), 16)
	l.ask(w, 5_000_000)
	l.take(w, amount("0.000000000000000001"), 16)
	f.Add(l.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := decodeLog(b)
		if err != nil {
			return
		}
		again, err := decodeLog(l.encode())
		if err != nil || !bytes.Equal(again.encode(), l.encode()) {
			t.Fatalf("%x: %v", b, err)
		}
		for _, w := range []Window{window("1m"), window("day"), window("1m", "", "5")} {
			l.ask(terms{amount("10"), w}, l.last) // must not panic
			l.room(terms{amount("10"), w}, amount("1"))
		}
	})
}
