package identity

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// silent is a store that does not answer until its caller gives up, while it is
// told to.
type silent struct {
	*memory
	since time.Time
}

func (s *silent) Grant(ctx context.Context, id string) (Record, error) {
	if s.since.IsZero() {
		return s.memory.Grant(ctx, id)
	}
	<-ctx.Done()
	return Record{}, ctx.Err()
}

// A store that has fallen silent must not make an entry hold for longer than one
// that answers with an error, however long the caller would wait.
func TestI9_AnEntryDoesNotOutliveTheWaitForASilentStore(t *testing.T) {
	for _, age := range []time.Duration{0, refresh, staleness - time.Millisecond, staleness} {
		synctest.Test(t, func(t *testing.T) {
			s := &silent{memory: &memory{}}
			a := NewAuthenticator(s, Options{})
			_, token := create(t, a, Grant{})
			identified(t, a, token)
			read := time.Now()
			s.since = read
			time.Sleep(age)
			for time.Since(read) < 10*time.Second {
				_, err := a.Identify(t.Context(), Evidence{BearerToken: token}, "stripe")
				if held := time.Since(read); err == nil && held >= time.Second {
					t.Fatalf("identified %s after the record was read", held)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}

// Nobody waits for a silent store for longer than an entry holds.
func TestASilentStoreIsNotWaitedForLong(t *testing.T) {
	for allowed, want := range map[time.Duration]time.Duration{
		250 * time.Millisecond: 250 * time.Millisecond,
		time.Minute:            staleness,
		0:                      staleness, // no deadline
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &silent{memory: &memory{}}
			a := NewAuthenticator(s, Options{})
			_, token := create(t, a, Grant{})
			s.since = time.Now()
			ctx, cancel := t.Context(), context.CancelFunc(func() {})
			if allowed > 0 {
				ctx, cancel = context.WithTimeout(ctx, allowed)
			}
			defer cancel()
			_, err := a.Identify(ctx, Evidence{BearerToken: token}, "stripe")
			if r := (*Refusal)(nil); err == nil || errors.As(err, &r) {
				t.Errorf("error %v", err)
			}
			if took := time.Since(s.since); took != want {
				t.Errorf("with %s: it took %s, want %s", allowed, took, want)
			}
		})
	}
}

// Who reads an entry again has time left to go on with it.
func TestASilentStoreLeavesTimeToWhoeverRenews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &silent{memory: &memory{}}
		a := NewAuthenticator(s, Options{})
		_, token := create(t, a, Grant{})
		identified(t, a, token)
		time.Sleep(refresh)
		s.since = time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 250*time.Millisecond)
		defer cancel()
		if _, err := a.Identify(ctx, Evidence{BearerToken: token}, "stripe"); err != nil {
			t.Error(err)
		}
		if took := time.Since(s.since); took != 200*time.Millisecond || ctx.Err() != nil {
			t.Errorf("it took %s of 250ms; %v", took, ctx.Err())
		}
	})
}
