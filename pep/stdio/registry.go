package stdio

import (
	"crypto/rand"
	"errors"
	"sync"
	"time"
)

// registry finds sessions by their id.
type registry struct {
	mu   sync.Mutex
	byID map[string]*session
	most int
}

var errSessions = errors.New("too many sessions are open")

// add opens a session. Its id has 130 random bits. (SECURITY T4)
func (r *registry) add(l *link, subject string) (*session, error) {
	s := &session{
		id: rand.Text(), subject: subject, link: l,
		box: newOutbox(l.options.QueueBytes), used: time.Now(),
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.byID) >= r.most {
		return nil, errSessions
	}
	r.byID[s.id] = s
	return s, nil
}

// find returns the subject's session with the id. Somebody else's does not
// exist for it.
func (r *registry) find(id, subject string) (*session, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.byID[id]
	if !ok || s.subject != subject {
		return nil, false
	}
	return s, true
}

func (r *registry) remove(s *session) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byID, s.id)
}
