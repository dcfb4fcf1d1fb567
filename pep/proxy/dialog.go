package proxy

import (
	"container/list"
	"sync"
	"time"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

const (
	maxAsked    = 128  // requests of a server that wait for the client at once
	maxListings = 1024 // ids of listing requests that are remembered
)

// owner is who a session belongs to: only the same subject, known by the same
// kind of evidence and under the same grant, may go on with it.
type owner struct{ subject, issuer, grant, resource string }

// dialogKey names a dialog: by the upstream's session id, or, where a server
// keeps no session, by the evidence that the frames come with.
type dialogKey struct {
	server, session string
	evidence        evidenceKey
}

// dialog is what is remembered of one client's talk with one server from frame
// to frame.
type dialog struct {
	key      dialogKey
	evidence evidenceKey // with which it was opened
	owner    owner
	shelf    *shelf // what the server listed in it

	// Guarded by dialogs.mu.
	uses    int
	touched time.Time
	place   *list.Element

	mu       sync.Mutex
	client   clientInfo
	asked    map[string][]string // methods of the server's open requests by id
	open     int                 // how many there are in asked
	listings map[string]struct{} // ids that were ever used to ask for a listing
	overflow bool                // listings is not complete
}

// clientInfo is what a client said about itself in its handshake.
type clientInfo struct {
	name, version, protocol string // no protocol: it has not introduced itself here
	askable                 bool   // it takes requests of the server
}

func (d *dialog) introduce(m mcp.Meta) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client = clientInfo{m.ClientName, m.ClientVersion, m.ProtocolVersion, askable(m)}
}

func (d *dialog) introduced() clientInfo {
	if d == nil {
		return clientInfo{}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.client
}

// ask remembers a server's request that is passed to the client. It reports
// false when too many wait already.
func (d *dialog) ask(id []byte, method string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.open >= maxAsked {
		return false
	}
	if d.asked == nil {
		d.asked = make(map[string][]string)
	}
	key := idKey(id)
	d.asked[key] = append(d.asked[key], method)
	d.open++
	return true
}

// asks returns the method of the server's request that waits for a response
// with this id.
func (d *dialog) asks(id []byte) (method string, ok bool) {
	if d == nil {
		return "", false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	methods := d.asked[idKey(id)]
	if len(methods) == 0 {
		return "", false
	}
	return methods[0], true
}

// answered takes away the request that a response answers: each is answered
// once.
func (d *dialog) answered(id []byte) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	key := idKey(id)
	methods := d.asked[key]
	if len(methods) == 0 {
		return false
	}
	if d.open--; len(methods) == 1 {
		delete(d.asked, key)
	} else {
		d.asked[key] = methods[1:]
	}
	return true
}

// noteListing remembers that a request with this id asks for a listing. An
// upstream may send, or send again, the answer on any later stream of the
// session.
func (d *dialog) noteListing(id []byte) {
	if d == nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.listings) >= maxListings {
		d.overflow = true
		return
	}
	if d.listings == nil {
		d.listings = make(map[string]struct{})
	}
	d.listings[looseKey(id)] = struct{}{}
}

// mayList reports whether a response with this id may be the answer to a
// listing request.
func (d *dialog) mayList(id []byte) bool {
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.listings[looseKey(id)]
	return ok || d.overflow
}

// dialogs holds the dialogs, the most recently used first. What is unused for
// long goes when others come.
type dialogs struct {
	idle time.Duration
	max  int

	mu     sync.Mutex
	byKey  map[dialogKey]*dialog
	recent list.List // of *dialog
}

func newDialogs(idle time.Duration, limit int) *dialogs {
	return &dialogs{idle: idle, max: limit, byKey: make(map[dialogKey]*dialog)}
}

// take returns the dialog and keeps it until release, or nil.
func (s *dialogs) take(key dialogKey) *dialog {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.byKey[key]
	if d == nil {
		return nil
	}
	if d.uses == 0 && time.Since(d.touched) > s.idle {
		s.remove(d)
		return nil
	}
	s.use(d)
	return d
}

// open returns the dialog under the key and keeps it until release; where
// there is none, d becomes it. ok is false when it belongs to somebody else.
func (s *dialogs) open(d *dialog) (_ *dialog, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.byKey[d.key]; old != nil {
		if old.owner != d.owner {
			return nil, false
		}
		s.use(old)
		return old, true
	}
	s.byKey[d.key] = d
	d.place = s.recent.PushFront(d)
	s.use(d)
	s.sweep()
	return d, true
}

func (s *dialogs) use(d *dialog) {
	d.uses++
	d.touched = time.Now()
	s.recent.MoveToFront(d.place)
}

func (s *dialogs) release(d *dialog) {
	if d == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	d.uses--
	d.touched = time.Now()
}

// forget removes a dialog whose session has ended.
func (s *dialogs) forget(d *dialog) {
	if d == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.remove(d)
}

func (s *dialogs) remove(d *dialog) {
	if s.byKey[d.key] == d {
		delete(s.byKey, d.key)
		s.recent.Remove(d.place)
	}
}

// sweep lets go of a few dialogs that are idle, or too many; mu is held.
func (s *dialogs) sweep() {
	for range 4 {
		back := s.recent.Back()
		if back == nil {
			return
		}
		d := back.Value.(*dialog)
		switch {
		case d.uses > 0:
			s.recent.MoveToFront(back)
		case len(s.byKey) > s.max, time.Since(d.touched) > s.idle:
			s.remove(d)
		default:
			return
		}
	}
}

// idKey is a JSON-RPC id in the form in which ids are compared: the same text
// for "a" and "\u0061", another one for "1" and 1.
func idKey(raw []byte) string {
	if len(raw) > 0 && raw[0] == '"' {
		return `"` + unquote(raw)
	}
	return string(raw)
}

// looseKey is an id as the most careless of servers compares it.
func looseKey(raw []byte) string {
	if len(raw) > 0 && raw[0] == '"' {
		return unquote(raw)
	}
	return string(raw)
}
