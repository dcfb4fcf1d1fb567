package stdio

import (
	"context"
	"strings"
	"sync"
	"time"
)

// session is one legacy client at one process. It ends with a DELETE, by
// being idle, or with its process.
type session struct {
	id      string
	subject string
	link    *link
	box     *outbox // for the GET stream; keeps what comes while none is open

	mu         sync.Mutex
	stream     *stream         // the open GET stream, or nil
	subscribed map[string]bool // resource URIs
	used       time.Time
}

// stream is one open GET stream.
type stream struct{ cancel context.CancelFunc }

// open makes a GET stream the session's only one, and returns the context that
// it lives in. A stream that was open ends: its client lost it, or would not
// open another one.
func (s *session) open(ctx context.Context) (context.Context, *stream) {
	ctx, cancel := context.WithCancel(ctx)
	st := &stream{cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != nil {
		s.stream.cancel()
	}
	s.stream = st
	return ctx, st
}

// leave forgets st, unless another stream has taken its place.
func (s *session) leave(st *stream) {
	st.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream == st {
		s.stream, s.used = nil, time.Now()
	}
}

// What waits for a GET stream that is not open is bounded more tightly: some
// clients never open one.
const (
	mostUnheard      = 64
	mostUnheardBytes = 64 << 10
)

// put adds a frame for the GET stream and says whether there was room.
func (s *session) put(frame []byte) bool {
	if !s.streaming() && s.box.full(mostUnheard, mostUnheardBytes-len(frame)) {
		return false
	}
	return s.box.put(message{frame: frame})
}

func (s *session) streaming() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stream != nil
}

func (s *session) touch() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = time.Now()
}

// idleFor is how long nothing was heard of the client; 0 while it listens.
func (s *session) idleFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stream != nil {
		return 0
	}
	return time.Since(s.used)
}

func (s *session) subscribe(uri string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !on {
		delete(s.subscribed, uri)
		return
	}
	if s.subscribed == nil {
		s.subscribed = map[string]bool{}
	}
	s.subscribed[uri] = true
}

func (s *session) subscribes(uri string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.subscribed[uri]
}

// follows says whether the session subscribed to the resource, or to one that
// contains it. (MCP 2025-11-25, resources, subscriptions)
func (s *session) follows(uri string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for of := range s.subscribed {
		rest, inside := strings.CutPrefix(uri, of)
		if inside && (rest == "" || strings.HasSuffix(of, "/") || strings.ContainsAny(rest[:1], "/?#")) {
			return true
		}
	}
	return false
}
