package audit

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An outcome costs no commit of its own while there are records to go with.
func TestOutcomeGoesWithTheNextRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, Options{Dir: t.TempDir()}, nil)
		mustRecord(t, l, testRecord(0))
		l.Outcome(testRecord(0).DecisionID, Outcome{Forwarded: true, Bytes: 7})
		synctest.Wait()
		if s := l.Status(); s.Commits != 1 || s.Entries != 1 {
			t.Errorf("after an outcome: %+v, want it to wait", s)
		}
		mustRecord(t, l, testRecord(1))
		if s := l.Status(); s.Commits != 2 || s.Entries != 3 {
			t.Errorf("after the next record: %+v, want both in one commit", s)
		}
		if r, err := l.Find(t.Context(), testRecord(0).DecisionID); err != nil || r.Outcome == nil || r.Outcome.Bytes != 7 {
			t.Errorf("%+v, %v", r, err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Without another record outcomes are written after a while, however long the log
// may wait with an fsync; each time anew, and many together.
func TestOutcomeDoesNotWaitForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, Options{Dir: t.TempDir(), Fsync: FsyncInterval, FsyncInterval: time.Hour}, nil)
		mustRecord(t, l, testRecord(0))
		for round := range int64(3) {
			for range 5 {
				l.Outcome(testRecord(0).DecisionID, Outcome{Bytes: round})
			}
			time.Sleep(outcomeDelay - time.Millisecond)
			synctest.Wait()
			if s := l.Status(); s.Commits != 1+round {
				t.Errorf("round %d, before its time: %+v", round, s)
			}
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if s := l.Status(); s.Commits != 2+round || s.Entries != uint64(6+5*round) {
				t.Errorf("round %d: %+v, want all in one commit", round, s)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// Outcomes that pile up are written before their time.
func TestOutcomesDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := openLog(t, Options{Dir: t.TempDir()}, nil)
		long := strings.Repeat("x ", 500)
		for range backlog/1000 + 1 {
			l.Outcome("d", Outcome{Error: long})
		}
		synctest.Wait()
		if s := l.Status(); s.Commits == 0 || s.Entries < backlog/1200 {
			t.Errorf("%+v, want most of them written", s)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	})
}
