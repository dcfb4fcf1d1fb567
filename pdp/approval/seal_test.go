package approval

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// secrets is a store of secrets for tests.
type secrets struct {
	mu   sync.Mutex
	kept map[string][]byte
	away error
}

func (s *secrets) Secret(_ context.Context, name string, create func() []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.kept == nil {
		s.kept = map[string][]byte{}
	}
	if s.kept[name] == nil {
		s.kept[name] = create()
	}
	return s.kept[name], s.away
}

func sealer(t testing.TB, s Secrets) *Sealer {
	t.Helper()
	sealer, err := NewSealer(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return sealer
}

var (
	sealTime = time.Date(2026, 11, 25, 12, 0, 0, 1000, time.UTC)
	round    = Round{ApprovalID: "APPROVAL-OF-TWENTY-SIX-LET", Round: 3, Binding: Digest{7}, Expires: sealTime.Add(time.Minute)}
)

func seal(t testing.TB, s *Sealer, r Round, associated string) string {
	t.Helper()
	sealed, err := s.Seal(r, []byte(associated))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func TestASealedRoundComesBack(t *testing.T) {
	shared := &secrets{}
	sealed := seal(t, sealer(t, shared), round, "agent:1")
	if strings.Contains(sealed, round.ApprovalID) || len(sealed) > 200 {
		t.Errorf("sealed: %s", sealed)
	}
	// Another replica opens it, with the key from the same store.
	got, err := sealer(t, shared).Open(sealed, []byte("agent:1"), sealTime)
	if err != nil || got != round {
		t.Errorf("%+v, %v", got, err)
	}
	if again := seal(t, sealer(t, shared), round, "agent:1"); again == sealed {
		t.Error("the same round is the same text twice: the nonce is not random")
	}
}

func TestI8_ASealedRoundIsGoodOnlyAsItIs(t *testing.T) {
	s := sealer(t, &secrets{})
	sealed := seal(t, s, round, "agent:1")
	for name, c := range map[string]struct {
		sealer     *Sealer
		sealed     string
		associated string
		at         time.Time
	}{
		"expired":               {s, sealed, "agent:1", round.Expires},
		"other associated data": {s, sealed, "agent:2", sealTime},
		"no associated data":    {s, sealed, "", sealTime},
		"foreign key":           {sealer(t, &secrets{}), sealed, "agent:1", sealTime},
		"nothing":               {s, "", "agent:1", sealTime},
		"a piece":               {s, sealed[:20], "agent:1", sealTime},
		"cut":                   {s, sealed[:len(sealed)-4], "agent:1", sealTime},
		"longer":                {s, sealed + "AAAA", "agent:1", sealTime},
		"much longer":           {s, strings.Repeat("A", 1<<20), "agent:1", sealTime},
		"no base64":             {s, sealed[:10] + "*" + sealed[11:], "agent:1", sealTime},
		"a line break":          {s, sealed[:10] + "\n" + sealed[10:], "agent:1", sealTime},
	} {
		if got, err := c.sealer.Open(c.sealed, []byte(c.associated), c.at); !errors.Is(err, ErrRound) || got != (Round{}) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if _, err := s.Open(sealed, []byte("agent:1"), round.Expires.Add(-time.Microsecond)); err != nil {
		t.Errorf("just before its end: %v", err)
	}
}

func TestI8_NoByteOfASealedRoundCanBeChanged(t *testing.T) {
	s := sealer(t, &secrets{})
	sealed := seal(t, s, round, "agent:1")
	rapid.Check(t, func(t *rapid.T) {
		b := []byte(sealed)
		i := rapid.IntRange(0, len(b)-1).Draw(t, "place")
		b[i] = rapid.SampledFrom([]byte("ABCDEFabcdef0189-_")).Draw(t, "letter")
		if _, err := s.Open(string(b), []byte("agent:1"), sealTime); err == nil && string(b) != sealed {
			t.Fatalf("%s opens", b)
		}
	})
}

func TestWhatCannotBeSealed(t *testing.T) {
	s := sealer(t, &secrets{})
	for _, r := range []Round{{}, {Round: -1}, {Round: 256}, {Round: 1, ApprovalID: strings.Repeat("x", 257)}} {
		if sealed, err := s.Seal(r, nil); err == nil {
			t.Errorf("%+v was sealed: %s", r, sealed)
		}
	}
}

func TestASealerNeedsItsKey(t *testing.T) {
	for name, s := range map[string]*secrets{
		"away":      {away: errors.New("gone")},
		"short key": {kept: map[string][]byte{roundSecret: make([]byte, 16)}},
	} {
		if got, err := NewSealer(t.Context(), s); err == nil || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func FuzzOpenRound(f *testing.F) {
	s := sealer(f, &secrets{})
	f.Add(seal(f, s, round, "agent:1"), []byte("agent:1"))
	f.Add("", []byte(nil))
	f.Add(strings.Repeat("A", 100), []byte("x"))
	f.Fuzz(func(t *testing.T, sealed string, associated []byte) {
		if got, err := s.Open(sealed, associated, sealTime); err == nil && got != round {
			t.Fatalf("%q opens as %+v", sealed, got)
		}
	})
}
