package audit

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// trailOf writes a trail of n records and returns its directory.
func trailOf(t testing.TB, n int, opt Options) string {
	t.Helper()
	if opt.Dir == "" {
		opt.Dir = t.TempDir()
	}
	l := openLog(t, opt, nil)
	for i := range n {
		r := testRecord(i)
		mustRecord(t, l, r)
		if i%3 == 0 {
			l.Outcome(r.DecisionID, Outcome{Forwarded: true, Status: 200, Bytes: int64(i)})
		}
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return opt.Dir
}

func readFile(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func writeFile(t testing.TB, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A crash can leave any part of the last write behind. Opening drops the part of a
// line, keeps the whole lines, and goes on.
func TestI5_TornTail(t *testing.T) {
	before := trailOf(t, 2, Options{})
	after := t.TempDir()
	if err := os.CopyFS(after, os.DirFS(before)); err != nil {
		t.Fatal(err)
	}
	trailOf(t, 2, Options{Dir: after})
	name := segmentName(1)
	short, long := readFile(t, filepath.Join(before, name)), readFile(t, filepath.Join(after, name))
	for size := len(short); size <= len(long); size++ {
		if near := long[max(0, size-3):min(len(long), size+3)]; size%29 != 0 && !bytes.Contains(near, []byte("\n")) {
			continue // every opening flushes; the ends of lines are tried at every byte
		}
		dir := t.TempDir()
		writeFile(t, filepath.Join(dir, name), long[:size])
		writeFile(t, filepath.Join(dir, headName), readFile(t, filepath.Join(before, headName)))
		whole := bytes.Count(long[:size], []byte("\n"))
		torn := long[size-1] != '\n'

		if r, err := NewTrail(dir).Verify(t.Context()); err != nil || (r.Problem != "") != torn {
			t.Fatalf("size %d, before opening: %+v, %v; torn is %v", size, r, err, torn)
		}
		l := openLog(t, Options{Dir: dir}, nil)
		mustRecord(t, l, testRecord(9))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		report := mustVerify(t, NewTrail(dir))
		want := int64(whole + 1)
		if torn {
			want++ // the repair
		}
		if report.Entries != want || (len(report.Repairs) == 1) != torn {
			t.Fatalf("size %d: %+v, want %d entries, repaired is %v", size, report, want, torn)
		}
	}
}

// After a power failure blocks that were never flushed can read as anything.
func TestTornTailOfGarbage(t *testing.T) {
	for name, garbage := range map[string][]byte{
		"zeros":       make([]byte, 5000),
		"lines":       []byte("\n\n\n{}\n"),
		"not utf-8":   {0xff, 0xfe, '\n', '"'},
		"long line":   bytes.Repeat([]byte("x"), maxLine+100),
		"half object": []byte(`{"seq":9,"type":"record","time":"2026-`),
	} {
		t.Run(name, func(t *testing.T) {
			dir := trailOf(t, 3, Options{})
			f, err := os.OpenFile(filepath.Join(dir, segmentName(1)), os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Write(garbage); err != nil {
				t.Fatal(err)
			}
			f.Close()
			l := testLog(t, Options{Dir: dir})
			mustRecord(t, l, testRecord(9))
			if r := mustVerify(t, l); len(r.Repairs) != 1 || r.Records != 4 {
				t.Errorf("%+v", r)
			}
		})
	}
}

// A crash between making a segment and writing to it.
func TestEmptySegment(t *testing.T) {
	for _, content := range []string{"", `{"seq":`} {
		dir := trailOf(t, 3, Options{SegmentBytes: 1})
		firsts, _, _ := listSegments(dir)
		last := filepath.Join(dir, segmentName(firsts[len(firsts)-1]))
		n := uint64(bytes.Count(readFile(t, last), []byte("\n")))
		next := filepath.Join(dir, segmentName(firsts[len(firsts)-1]+n))
		writeFile(t, next, []byte(content))
		l := openLog(t, Options{Dir: dir}, nil)
		mustRecord(t, l, testRecord(9), testRecord(10))
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if r := mustVerify(t, NewTrail(dir)); r.Records != 5 {
			t.Errorf("%+v", r)
		}
	}
}

// What opening cannot put right stays visible for good.
func TestDamageStaysVisible(t *testing.T) {
	cutLines := func(b []byte, n int) []byte { // without its last n lines
		lines := bytes.SplitAfter(b, []byte("\n"))
		return bytes.Join(lines[:len(lines)-1-n], nil)
	}
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, dir, last string)
		found  string
	}{
		{"last entry removed", func(t *testing.T, _, last string) { writeFile(t, last, cutLines(readFile(t, last), 1)) }, "missing"},
		{"last entry cut", func(t *testing.T, _, last string) {
			b := readFile(t, last)
			writeFile(t, last, b[:len(b)-1])
		}, "missing"},
		{"all of the last segment removed", func(t *testing.T, _, last string) { writeFile(t, last, nil) }, "missing"},
		{"last segment removed", func(t *testing.T, _, last string) { os.Remove(last) }, "missing"},
		{"all segments removed", func(t *testing.T, dir, _ string) {
			firsts, _, _ := listSegments(dir)
			for _, f := range firsts {
				os.Remove(filepath.Join(dir, segmentName(f)))
			}
		}, "missing"},
		{"entry altered", func(t *testing.T, _, last string) {
			writeFile(t, last, bytes.Replace(readFile(t, last), []byte("deny"), []byte("warn"), 1))
		}, "altered"},
		{"head removed", func(t *testing.T, dir, _ string) { os.Remove(filepath.Join(dir, headName)) }, "head file is missing"},
		{"head removed and entries too", func(t *testing.T, dir, last string) {
			os.Remove(filepath.Join(dir, headName))
			writeFile(t, last, cutLines(readFile(t, last), 1))
		}, "head file is missing"},
		{"head spoilt", func(t *testing.T, dir, _ string) { writeFile(t, filepath.Join(dir, headName), []byte("{}")) }, "head file is damaged"},
		{"another trail in its place", func(t *testing.T, dir, last string) {
			other := trailOf(t, 50, Options{})
			firsts, _, _ := listSegments(dir)
			for _, f := range firsts {
				os.Remove(filepath.Join(dir, segmentName(f)))
			}
			writeFile(t, filepath.Join(dir, segmentName(1)), readFile(t, filepath.Join(other, segmentName(1))))
		}, "the one that the head file names"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := trailOf(t, 12, Options{SegmentBytes: 2000})
			firsts, _, _ := listSegments(dir)
			end, err := NewTrail(dir).head()
			if err != nil {
				t.Fatal(err)
			}
			c.damage(t, dir, filepath.Join(dir, segmentName(firsts[len(firsts)-1])))
			for round := range 2 {
				if r, err := NewTrail(dir).Verify(t.Context()); err != nil || !strings.Contains(r.Problem, c.found) {
					t.Errorf("round %d: %+v, %v; want a problem with %q", round, r, err, c.found)
				}
				l := openLog(t, Options{Dir: dir}, nil)
				mustRecord(t, l, testRecord(20+round))
				got := query(t, l, Filter{}, 1)[0]
				if got.DecisionID != testRecord(20+round).DecisionID {
					t.Errorf("last record is %v", got)
				}
				// No number is given twice: what is missing can be told by its number.
				if !strings.HasPrefix(c.name, "head") && got.Seq <= end.seq {
					t.Errorf("the trail had %d entries, a new record got number %d", end.seq, got.Seq)
				}
				if err := l.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// An altered entry with whole ones behind it, of which a head file that a power
// failure has set back does not know: no number is given twice here either.
func TestDamageBeforeTheHead(t *testing.T) {
	dir := trailOf(t, 5, Options{})
	old := readFile(t, filepath.Join(dir, headName))
	trailOf(t, 5, Options{Dir: dir})
	end, err := NewTrail(dir).head()
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(dir, headName), old)
	name := filepath.Join(dir, segmentName(1))
	writeFile(t, name, bytes.Replace(readFile(t, name), []byte("deny"), []byte("warn"), 1))
	l := testLog(t, Options{Dir: dir})
	mustRecord(t, l, testRecord(20))
	if got := query(t, l, Filter{}, 1)[0]; got.Seq <= end.seq {
		t.Errorf("the trail had %d entries, a new record got number %d", end.seq, got.Seq)
	}
	if r, err := l.Verify(t.Context()); err != nil || !strings.Contains(r.Problem, "altered") {
		t.Errorf("%+v, %v", r, err)
	}
}

// One slot of the head file that was cut short while it was written is no damage.
func TestHeadSlotCutShort(t *testing.T) {
	for slot := range 2 {
		dir := trailOf(t, 5, Options{})
		name := filepath.Join(dir, headName)
		b := readFile(t, name)
		copy(b[slot*slotSize+10:], "xxxxxxxx")
		writeFile(t, name, b)
		l := testLog(t, Options{Dir: dir})
		if r := mustVerify(t, l); r.Records != 5 || len(r.Repairs) != 0 {
			t.Errorf("slot %d: %+v", slot, r)
		}
	}
}
