package credential

import (
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

// freshness is how old what is in memory may be before the vault is asked again,
// so that an account that is disconnected is so within a second everywhere.
const freshness = 800 * time.Millisecond

// idle is after how long what nobody uses is forgotten, and not renewed ahead.
const idle = 10 * time.Minute

// held are tokens in memory.
type held struct {
	tokens     tokens
	generation int64 // 0: there are none
	readAt     time.Time
}

// String shows no token, whatever the verb.
func (h held) String() string { return h.tokens.String() }

// GoString shows no token.
func (h held) GoString() string { return h.String() }

// LogValue shows no token.
func (h held) LogValue() slog.Value { return slog.StringValue(h.String()) }

// slot is what is known of one key.
type slot struct {
	held
	credential *brokered
	jitter     float64
	usedAt     time.Time

	// failures in a row, what the last one was, and when to try again.
	failures int
	failed   error
	retryAt  time.Time
}

// memory is the tokens in use, by key.
type memory struct {
	mu    sync.Mutex
	slots map[Key]*slot
}

func newMemory() memory { return memory{slots: map[Key]*slot{}} }

// at returns the slot of a key; the caller has the lock.
func (m *memory) at(k Key) *slot {
	s := m.slots[k]
	if s == nil {
		s = &slot{jitter: rand.Float64()}
		m.slots[k] = s
	}
	return s
}

// use returns what is there, and whether the vault need not be asked.
func (m *memory) use(k Key, c *brokered, now time.Time) (slot, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.at(k)
	s.credential, s.usedAt = c, now
	age := now.Sub(s.readAt)
	return *s, s.generation > 0 && age >= 0 && age < freshness
}

// keep takes what was read or renewed, unless a later reading has come first.
func (m *memory) keep(k Key, h held) slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.at(k)
	if !h.readAt.Before(s.readAt) {
		s.held = h
	}
	out := *s
	out.held = h
	return out
}

// forget takes a key's tokens out.
func (m *memory) forget(k Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.slots, k)
}

// renewed clears what has failed.
func (m *memory) renewed(k Key) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.at(k)
	s.failures, s.failed, s.retryAt = 0, nil, time.Time{}
}

// The wait after a failure: doubled each time between these, with jitter.
const (
	firstWait = time.Second
	lastWait  = time.Minute
)

// failed keeps a failure, and until when nobody tries again.
func (m *memory) failed(k Key, err error, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.at(k)
	wait := min(firstWait<<min(s.failures, 10), lastWait)
	s.failures++
	s.failed, s.retryAt = err, now.Add(wait/2+rand.N(wait/2))
}

// waiting is the failure after which it is too soon to try again, or nil.
func (m *memory) waiting(k Key, now time.Time) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.slots[k]; s != nil && now.Before(s.retryAt) {
		return s.failed
	}
	return nil
}

// due are the slots that were used lately and are to be renewed; those that nobody
// uses are forgotten.
func (m *memory) due(now time.Time) map[Key]slot {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := map[Key]slot{}
	for k, s := range m.slots {
		at := s.tokens.dueAt(s.jitter)
		switch {
		case now.Sub(s.usedAt) > idle && !now.Before(s.retryAt):
			delete(m.slots, k)
		case s.credential != nil && s.generation > 0 && !at.IsZero() && !now.Before(at) && !now.Before(s.retryAt):
			list[k] = *s
		}
	}
	return list
}
