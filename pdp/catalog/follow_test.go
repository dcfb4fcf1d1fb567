package catalog

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"
)

// shared counts the changes, as a store does that several processes write to.
type shared struct{ *memory }

func (s shared) CatalogVersion(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return int64(s.writes), s.away
}

// eventually waits until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !so(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
	}
}

func TestWhatOthersChangeIsTakenOver(t *testing.T) {
	m := &memory{}
	open := func() *Catalog {
		c, err := New(t.Context(), m, []Server{{Name: "s"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	one, other := open(), open()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		other.Follow(ctx, shared{m}, time.Millisecond, slog.New(slog.DiscardHandler))
		close(ended)
	}()
	classify := func(class string) {
		t.Helper()
		if _, err := one.Classify(t.Context(), []Classification{{Server: "s", Tool: "x", Class: class}}); err != nil {
			t.Fatal(err)
		}
	}
	class := func() string { return other.Lookup("s", "x", false, nil).Class }

	classify("destructive")
	eventually(t, "a class that another process has set is not known", func() bool { return class() == "destructive" })
	m.fail(errors.New("away"))
	time.Sleep(5 * time.Millisecond)
	if class() != "destructive" {
		t.Error("what was known is forgotten while the store is away")
	}
	m.fail(nil)
	classify("read")
	eventually(t, "nothing is taken over since the store was away", func() bool { return class() == "read" })

	reads := m.readTimes()
	time.Sleep(5 * time.Millisecond)
	if now := m.readTimes(); now > reads+1 {
		t.Errorf("the catalog was read %d times without a change", now-reads)
	}
	cancel()
	<-ended
}

func (m *memory) readTimes() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.reads
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.away = err
}
