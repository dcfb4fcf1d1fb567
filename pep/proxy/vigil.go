package proxy

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const (
	// recheckEvery is how often the evidence of an open stream is checked: a
	// revoked grant is to be of no use within a second. (I9)
	recheckEvery = 400 * time.Millisecond
	// unansweredFor is how long a stream stays open while nobody says whether
	// its evidence is still good. (I1)
	unansweredFor = 5 * time.Second
)

// vigil ends streams whose evidence is no good any more. A stream can stay open
// for days without a frame that is decided on. Evidence with which several
// streams were opened is checked once for all.
type vigil struct {
	recheck func(ctx context.Context, e *v1.Evidence, server string) v1.ReasonCode

	mu      sync.Mutex
	watched map[vigilKey]*watched
	over    chan struct{} // closed when the last stream has gone; nil without any
}

type vigilKey struct {
	evidence evidenceKey
	server   string
}

// watched are the streams of one client at one server.
type watched struct {
	evidence *v1.Evidence
	lines    map[*line]struct{}
	answered time.Time // when it was last known to be good
}

// keep watches over l until the returned function is called.
func (v *vigil) keep(key vigilKey, e *v1.Evidence, l *line) (stop func()) {
	v.mu.Lock()
	defer v.mu.Unlock()
	w := v.watched[key]
	if w == nil {
		w = &watched{evidence: e, lines: map[*line]struct{}{}, answered: time.Now()}
		if v.watched == nil {
			v.watched = map[vigilKey]*watched{}
		}
		v.watched[key] = w
	}
	w.lines[l] = struct{}{}
	if v.over == nil {
		v.over = make(chan struct{})
		go v.run(v.over)
	}
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		if delete(w.lines, l); len(w.lines) > 0 {
			return
		}
		if delete(v.watched, key); len(v.watched) == 0 {
			close(v.over)
			v.over = nil
		}
	}
}

// run checks in turns, for as long as there is anything to watch over.
func (v *vigil) run(over <-chan struct{}) {
	tick := time.NewTicker(recheckEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			for _, key := range v.keys() {
				v.check(key)
			}
		case <-over:
			return
		}
	}
}

func (v *vigil) keys() []vigilKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Collect(maps.Keys(v.watched))
}

func (v *vigil) check(key vigilKey) {
	v.mu.Lock()
	w := v.watched[key]
	v.mu.Unlock()
	if w == nil {
		return
	}
	code := v.recheck(context.Background(), w.evidence, key.server)
	v.mu.Lock()
	defer v.mu.Unlock()
	switch code {
	case v1.ReasonCode_REASON_CODE_UNSPECIFIED:
		w.answered = time.Now()
		return
	case v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE, v1.ReasonCode_REASON_CODE_NO_POLICY:
		if time.Since(w.answered) < unansweredFor {
			return
		}
	}
	for l := range w.lines {
		l.cancel(errExpelled)
	}
}
