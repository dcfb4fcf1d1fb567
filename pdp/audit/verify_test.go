package audit

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// files reads the segments and the head of a trail.
func files(t testing.TB, dir string) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	firsts, _, err := listSegments(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range firsts {
		out[segmentName(f)] = readFile(t, filepath.Join(dir, segmentName(f)))
	}
	out[headName] = readFile(t, filepath.Join(dir, headName))
	return out
}

// T21: whatever is altered, removed, added, moved or cut off anywhere in the trail
// or its head, Verify finds. A log that is opened on it writes on, and what was
// wrong stays visible, but for a write that was cut short behind the last entry
// and half a head file.
func TestAnyMutationIsFound(t *testing.T) {
	whole := files(t, trailOf(t, 20, Options{SegmentBytes: 2500}))
	var names []string
	for name := range whole {
		names = append(names, name)
	}
	slices.Sort(names)
	last := names[len(names)-2] // head sorts behind the segments
	rapid.Check(t, func(rt *rapid.T) {
		name := rapid.SampledFrom(names).Draw(rt, "file")
		now := mutate(rt, whole[name])
		remove := rapid.Float64Range(0, 1).Draw(rt, "remove") < 0.05
		if !remove && (bytes.Equal(now, whole[name]) || name == headName && sameSlots(now, whole[name])) {
			return
		}
		dir, err := os.MkdirTemp("", "audit")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		for n, b := range whole {
			writeFile(t, filepath.Join(dir, n), b)
		}
		if remove {
			os.Remove(filepath.Join(dir, name))
		} else {
			writeFile(t, filepath.Join(dir, name), now)
		}
		if r, err := NewTrail(dir).Verify(t.Context()); err != nil || r.Problem == "" {
			rt.Fatalf("not found: %+v, %v", r, err)
		}
		l := openLog(t, Options{Dir: dir, Fsync: FsyncNever}, nil)
		defer l.Close()
		mustRecord(rt, l, testRecord(99))
		if got := query(rt, l, Filter{}, 1); got[0].DecisionID != testRecord(99).DecisionID {
			rt.Fatalf("the last record is %+v", got[0])
		}
		mendable := name == headName || name == last && bytes.HasPrefix(now, whole[name])
		if r, err := l.Verify(t.Context()); err != nil || r.Problem == "" && !mendable {
			rt.Fatalf("not found any more: %+v, %v", r, err)
		}
	})
}

// sameSlots reports whether two head files say the same: the order of their slots
// says nothing.
func sameSlots(a, b []byte) bool {
	return len(a) == len(b) && bytes.Equal(a[:slotSize], b[slotSize:]) && bytes.Equal(a[slotSize:], b[:slotSize])
}

// mutate changes b somehow.
func mutate(rt *rapid.T, b []byte) []byte {
	b = bytes.Clone(b)
	at := func(label string, n int) int { return rapid.IntRange(0, n).Draw(rt, label) }
	lines := bytes.SplitAfter(b, []byte("\n"))
	lines = lines[:len(lines)-1]
	switch rapid.SampledFrom([]string{"flip", "insert", "delete", "truncate", "drop", "swap", "double"}).Draw(rt, "mutation") {
	case "flip":
		b[at("byte", len(b)-1)] ^= byte(1 << at("bit", 7))
	case "insert":
		b = slices.Insert(b, at("byte", len(b)), rapid.Byte().Draw(rt, "value"))
	case "delete":
		i := at("byte", len(b)-1)
		b = slices.Delete(b, i, min(len(b), i+1+at("more", 100)))
	case "truncate":
		b = b[:at("size", len(b)-1)]
	case "drop":
		i := at("line", len(lines)-1)
		b = bytes.Join(slices.Delete(lines, i, i+1), nil)
	case "swap":
		i, j := at("line", len(lines)-1), at("other", len(lines)-1)
		lines[i], lines[j] = lines[j], lines[i]
		b = bytes.Join(lines, nil)
	case "double":
		i := at("line", len(lines)-1)
		b = bytes.Join(slices.Insert(lines, at("place", len(lines)), lines[i]), nil)
	}
	return b
}

// Every single byte: flipping any of its bits is found. The head's older slot too.
func TestEveryByteCounts(t *testing.T) {
	dir := trailOf(t, 2, Options{SegmentBytes: 900})
	for name, whole := range files(t, dir) {
		for i := range whole {
			b := bytes.Clone(whole)
			b[i] ^= 1 << (i % 8)
			writeFile(t, filepath.Join(dir, name), b)
			if r, err := NewTrail(dir).Verify(t.Context()); err != nil || r.Problem == "" {
				t.Fatalf("%s: byte %d (%q): not found: %+v, %v", name, i, whole[i], r, err)
			}
		}
		writeFile(t, filepath.Join(dir, name), whole)
	}
	mustVerify(t, NewTrail(dir))
}

// A line that was altered and given its right hash, the lines after it too, is found
// by what the head file says.
func TestRewrittenHistoryIsFound(t *testing.T) {
	dir := trailOf(t, 6, Options{})
	name := filepath.Join(dir, segmentName(1))
	c := chain{hash: genesis}
	var forged []byte
	for line := range bytes.Lines(readFile(t, name)) {
		line = bytes.Replace(bytes.TrimSuffix(line, []byte("\n")), []byte("alice"), []byte("mallory"), 1)
		e, ok := parseEntry(line)
		if !ok {
			t.Fatalf("no entry: %s", line)
		}
		body := line[bytes.IndexByte(line, ',')+1 : len(line)-hashTail-len(prevOpen)-hashHex-1]
		forged = c.append(forged, append(append([]byte("{"), body...), '}'))
		if c.seq != e.seq {
			t.Fatal("the forger cannot count")
		}
	}
	writeFile(t, name, forged)
	if r, err := NewTrail(dir).Verify(t.Context()); err != nil || !strings.Contains(r.Problem, "the one that the head file names") {
		t.Errorf("%+v, %v", r, err)
	}
}

// One entry that was altered and given its right hash does not fit to its neighbours.
func TestForgedEntryIsFound(t *testing.T) {
	dir := trailOf(t, 4, Options{})
	name := filepath.Join(dir, segmentName(1))
	lines := bytes.SplitAfter(readFile(t, name), []byte("\n"))
	for i := range lines[:len(lines)-2] {
		line := bytes.Replace(lines[i], []byte("d-0"), []byte("d-1"), 1)
		body := line[:len(line)-1-hashTail]
		forged := fmt.Appendf(nil, "%s%s%s%s\n", body, hashOpen, hashOf(body), lineEnd)
		writeFile(t, name, bytes.Join(slices.Concat(lines[:i], [][]byte{forged}, lines[i+1:]), nil))
		want := fmt.Sprintf("entry %d does not follow entry %d", i+2, i+1)
		if r, err := NewTrail(dir).Verify(t.Context()); err != nil || !strings.Contains(r.Problem, want) {
			t.Errorf("%+v, %v; want %q", r, err, want)
		}
	}
}

func TestStraySegmentIsFound(t *testing.T) {
	dir := trailOf(t, 3, Options{})
	for _, name := range []string{"copy.jsonl", "1.jsonl"} {
		writeFile(t, filepath.Join(dir, name), nil)
		if r, err := NewTrail(dir).Verify(t.Context()); err != nil || !strings.Contains(r.Problem, name) {
			t.Errorf("%+v, %v", r, err)
		}
		os.Remove(filepath.Join(dir, name))
	}
}

func TestVerifyOfNothing(t *testing.T) {
	for _, dir := range []string{t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		if r, err := NewTrail(dir).Verify(t.Context()); err == nil {
			t.Errorf("%s: %+v, want an error", dir, r)
		}
	}
}

// Verifying while others write sees a whole chain each time, from inside of the
// process and from outside.
func TestVerifyWhileWriting(t *testing.T) {
	dir := t.TempDir()
	l := testLog(t, Options{Dir: dir, Fsync: FsyncNever, SegmentBytes: 20 << 10})
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := l.Record(ctx, testRecord(w*1_000_000+i)); err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}
		})
	}
	outside := NewTrail(dir)
	for l.Status().Entries < 2000 {
		mustVerify(t, l)
		mustVerify(t, outside)
	}
	cancel()
	wg.Wait()
}

// The check that the package documentation prints, in Go, with nothing of this
// package: the format is what it says there.
func TestDocumentedCheck(t *testing.T) {
	dir := trailOf(t, 20, Options{SegmentBytes: 2500})
	seq, prev := 0, strings.Repeat("0", 64)
	seen := map[int]string{0: prev}
	names, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	slices.Sort(names)
	for _, name := range names {
		for line := range bytes.Lines(readFile(t, name)) {
			var e struct {
				Seq  int
				Prev string
			}
			if err := json.Unmarshal(line, &e); err != nil {
				t.Fatal(err)
			}
			if seq++; e.Seq != seq || e.Prev != prev {
				t.Fatalf("%s: chain broken at %d", name, seq)
			}
			sum := sha256.Sum256(line[:len(line)-76])
			prev = hex.EncodeToString(sum[:])
			seen[seq] = prev
			if got, want := string(line[len(line)-76:]), fmt.Sprintf(",\"hash\":\"%s\"}\n", prev); got != want {
				t.Fatalf("%s: entry %d altered", name, seq)
			}
		}
	}
	var head struct {
		Seq  int
		Hash string
	}
	for line := range bytes.Lines(readFile(t, filepath.Join(dir, "head"))) {
		slot := head
		if err := json.Unmarshal(line, &slot); err != nil {
			t.Fatal(err)
		}
		if slot.Seq >= head.Seq {
			head = slot
		}
	}
	if head.Seq != seq || seen[head.Seq] != head.Hash {
		t.Errorf("head %+v, last entry %d %s", head, seq, prev)
	}
}
