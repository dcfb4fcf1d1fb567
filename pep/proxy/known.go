package proxy

import (
	"errors"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// target says what the frame is about and what is known of it. For what a
// listing can name, the listing is asked for first where it is not known; the
// question is the same whatever the name, so that its time tells nothing (I3).
func (a *act) target() *v1.Target {
	f := a.frame
	if f == nil || !f.HasName {
		return nil
	}
	t := &v1.Target{Name: f.Name}
	method, complete := listedBy(f.Method, f.Params)
	if method == "" {
		return t
	}
	l := a.listing(method, complete)
	if l == nil {
		return t
	}
	if definition, ok := l.items[f.Name]; ok {
		t.Presence, t.Definition = v1.Presence_PRESENCE_LISTED, definition
	} else if complete {
		t.Presence = v1.Presence_PRESENCE_ABSENT
	}
	return t
}

// listedBy returns the method whose listing has what a frame names. complete
// says that nothing exists that is not in it: of resources a server may have
// more than it lists.
func listedBy(method string, params []byte) (list string, complete bool) {
	switch method {
	case "tools/call":
		return "tools/list", true
	case "prompts/get":
		return "prompts/list", true
	case "resources/read", "resources/subscribe", "resources/unsubscribe":
		return "resources/list", false
	case "completion/complete":
		if refersToPrompt(params) {
			return "prompts/list", true
		}
		return "resources/templates/list", false
	}
	return "", false
}

func refersToPrompt(params []byte) (is bool) {
	members(params, func(name string, value []byte) bool {
		if name == "ref" {
			is = member(value, "type") == "ref/prompt"
		}
		return name != "ref"
	})
	return is
}

// listing returns what is known of a server's listing, nil when nothing is.
// With ask, a listing that is not known is asked for now, and an old one
// aside, for the next frames.
func (a *act) listing(method string, ask bool) *listing {
	s := a.shelf()
	if s == nil {
		return nil
	}
	r := s.of(method)
	r.mu.Lock()
	defer r.mu.Unlock()
	usable := func() bool { return r.now != nil && !(r.plain && a.up.credentialed.Load()) }
	if known := usable() && !r.stale; ask && (!known || time.Since(r.at) > listingAge) {
		a.askFor(method, r, !known)
	}
	if !usable() {
		return nil
	}
	return r.now
}

// missed is told that a name was not in a listing that may be old: the server
// is asked again, aside.
func (a *act) missed() {
	method, complete := listedBy(a.frame.Method, a.frame.Params)
	s := a.shelf()
	if _, recognised := a.p.identities.of(a.key); s == nil || !complete || !recognised {
		return
	}
	r := s.of(method)
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) > missAge {
		a.askFor(method, r, false)
	}
}

// askFor asks the server for a listing, once at a time and not again right
// after a failure. With wait it returns when the answer is there. r.mu is held
// and released in between.
func (a *act) askFor(method string, r *record, wait bool) {
	if r.flight == nil && a.mayAsk(r) {
		ticket := a.p.gate.enter(false)
		if ticket == nil {
			return
		}
		flight := make(chan struct{})
		r.flight = flight
		q := a.listQuestion(method)
		go func() {
			defer ticket.leave()
			defer close(flight)
			l, plain, err := q.ask(a.p)
			r.answer(q.asker, l, plain, err)
		}()
	}
	if flight := r.flight; flight != nil && wait {
		r.mu.Unlock()
		<-flight // ends within ListTimeout
		r.mu.Lock()
	}
}

// answer ends the question under way.
func (r *record) answer(asker evidenceKey, l *listing, plain bool, err error) {
	if err == nil {
		r.set(l, plain)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flight = nil
	switch {
	case errors.Is(err, errNotAllowed):
		// Nobody else has to wait because this client may not list.
		r.barred, r.barredAt = asker, time.Now()
	case err != nil:
		r.failed = time.Now()
	}
}

// mayAsk says whether the gateway asks the server on account of this client: a
// frame without any credential is going to be refused anyway. r.mu is held.
func (a *act) mayAsk(r *record) bool {
	return !isAnonymous(a.evidence) && time.Since(r.failed) > failurePause &&
		(r.barred != a.key || time.Since(r.barredAt) > failurePause)
}

// shelf is where the listings that this client sees are kept, nil when it is
// not known yet who the client is and the server depends on that.
func (a *act) shelf() *shelf {
	switch {
	case a.dialog != nil && (a.dialog.key.session != "" || a.up.PerSubject):
		return a.dialog.shelf
	case a.up.PerSubject:
		return nil
	}
	return a.up.shelf
}
