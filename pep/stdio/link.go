package stdio

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/mcpermit/mcpermit/pep/mcp"
	"github.com/mcpermit/mcpermit/pep/proxy"
)

// link is one running process and everything that is under way on it: the
// calls of all its clients under ids of its own, and who is to hear what.
type link struct {
	options  ChildOptions
	log      *slog.Logger
	proc     *process
	registry *registry
	modern   bool // carries 2026-07-28 traffic: no handshake, no sessions
	started  time.Time

	environment digest // of what the process has beside the configured

	out     chan []byte   // frames from clients, taken by the writer one by one
	replies chan []byte   // what the link says itself; full means it is lost
	done    chan struct{} // closed when no answer will come any more
	gone    chan struct{} // closed when nothing is left of the process

	mu       sync.Mutex
	closing  error // set: no new calls; why
	ended    bool  // done is closed
	planned  bool  // the end was asked for: no breakdown
	lastID   uint64
	calls    map[uint64]*call
	asked    map[token]*question
	sessions map[*session]bool
	used     time.Time

	handshake   handshake
	knownModern bool // a modern answer was seen: the server does speak 2026-07-28
}

// handshake is what is known of a process's one initialize.
type handshake struct {
	result    *mcp.Frame    // the response; nil until there is one
	busy      chan struct{} // an initialize is under way; closed when it is not any more
	announced bool          // notifications/initialized was sent
}

func (h *handshake) release() {
	if h.busy != nil {
		close(h.busy)
		h.busy = nil
	}
}

// errNoLink says that a process takes no calls any more; another one may.
var errNoLink = errors.New("the server process is ending")

// errEnded is what calls in flight get when their process goes away.
var errEnded = errors.New("the server process ended before it answered")

// mostReplies is how many messages of its own a link keeps for a process that
// does not read; mostAsked how many questions of the server may be open.
const (
	mostReplies = 256
	mostAsked   = 256
)

// writeStall is how long a process may leave one frame unread.
const writeStall = 30 * time.Second

// lastWords is how long output is still read after a process is gone. Only a
// descendant that left the process group can hold it open longer.
const lastWords = 500 * time.Millisecond

func newLink(o ChildOptions, p *process, r *registry, modern bool) *link {
	return &link{
		options: o, log: o.Logger.With("pid", p.pid), proc: p, registry: r, modern: modern,
		started: time.Now(), used: time.Now(),
		out: make(chan []byte), replies: make(chan []byte, mostReplies), done: make(chan struct{}), gone: make(chan struct{}),
		calls: map[uint64]*call{}, asked: map[token]*question{}, sessions: map[*session]bool{},
	}
}

// run serves the process until it is gone and every goroutine of the link has
// ended.
func (l *link) run() {
	var others sync.WaitGroup
	others.Go(l.write)
	quiet := make(chan struct{}) // stderr has ended
	others.Go(func() {
		defer close(quiet)
		logStderr(l.log, l.proc.stderr, l.options.Env)
	})
	others.Go(func() { l.cutOff(quiet) })
	others.Go(l.sweep)

	err := l.read()
	if err != nil {
		l.log.Error("stdio server broke the protocol and is killed", "error", err)
		l.end(err)
		l.proc.kill()
	}
	l.end(errEnded)
	l.proc.stop(l.options.Grace)
	others.Wait()
}

// read dispatches what the process writes, until the output ends. An error
// means that it wrote something that is no frame. (SECURITY T23)
func (l *link) read() error {
	lines := newLineReader(l.proc.stdout, l.options.AnswerBytes)
	for {
		line, long, err := lines.next()
		switch {
		case err != nil:
			return nil //nolint:nilerr // whatever ended the output; a line that was not ended is none
		case long:
			return fmt.Errorf("a line of more than %d bytes on stdout", l.options.AnswerBytes)
		case isBlank(line):
			continue
		}
		f, err := mcp.Read(line, mcp.ToClient, transportLimits(l.options.AnswerBytes))
		switch {
		case err == nil:
			l.dispatch(f)
		case jsontext.Value(line).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)):
			l.refuse(err)
		default:
			return fmt.Errorf("a line of %d bytes on stdout that is not JSON", len(line))
		}
	}
}

var lineFeed = []byte{'\n'}

// write hands frames to the process, one line each.
func (l *link) write() {
	for {
		var frame []byte
		select {
		case frame = <-l.out:
		case frame = <-l.replies:
		case <-l.done:
			return
		}
		stall := time.AfterFunc(writeStall, func() {
			l.log.Error("stdio server does not read its input and is killed")
			l.proc.kill()
		})
		_, err := l.proc.stdin.Write(slices.Concat(frame, lineFeed))
		stall.Stop()
		if err != nil {
			l.halt(errEnded, false)
			return
		}
	}
}

// cutOff ends the reading of streams that outlive their process.
func (l *link) cutOff(quiet <-chan struct{}) {
	<-l.proc.gone
	timer := time.NewTimer(lastWords)
	defer timer.Stop()
	for _, ended := range []<-chan struct{}{l.done, quiet} {
		select {
		case <-ended:
			continue
		case <-timer.C:
		}
		break
	}
	l.proc.stdout.Close()
	l.proc.stderr.Close()
}

// halt takes no more calls and stops the process in its own time; answers
// that come until then are still delivered.
func (l *link) halt(why error, planned bool) {
	l.mu.Lock()
	first := l.closing == nil
	if first {
		l.closing, l.planned = why, planned
	}
	l.mu.Unlock()
	if first {
		go l.proc.stop(l.options.Grace)
	}
}

// retire halts a process that is of no use, and reports whether it is of none.
func (l *link) retire() bool {
	l.mu.Lock()
	free := len(l.calls) == 0 && len(l.sessions) == 0
	first := free && l.closing == nil
	if first {
		l.closing, l.planned = errNoLink, true
	}
	l.mu.Unlock()
	if first {
		go l.proc.stop(l.options.Grace)
	}
	return free
}

func (l *link) isClosing() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closing != nil
}

func (l *link) wasPlanned() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.planned
}

// end fails what is still under way. The first call counts.
func (l *link) end(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return
	}
	l.ended = true
	if l.closing == nil {
		l.closing = why
	}
	for _, c := range l.calls {
		c.timer.Stop()
		c.box.close(why)
	}
	for s := range l.sessions {
		s.box.close(nil)
		l.registry.remove(s)
	}
	clear(l.calls)
	clear(l.asked)
	clear(l.sessions)
	l.handshake.release()
	close(l.done)
}

// send waits until the writer takes the frame. Its errors say that the
// process has seen nothing of it.
func (l *link) send(ctx context.Context, frame []byte) error {
	select {
	case l.out <- mcp.Line(frame):
		return nil
	case <-l.done:
		return fmt.Errorf("%w: %w", errNoLink, proxy.ErrNotSent)
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ctx.Err(), proxy.ErrNotSent)
	}
}

// reply sends what the link has to say itself. It never waits: it is called
// by the reader, and the process may be waiting for the reader.
func (l *link) reply(frame []byte) {
	select {
	case l.replies <- mcp.Line(frame):
	default:
		l.log.Warn("stdio server does not read its input: a message to it was dropped")
	}
}

// sweep ends idle sessions, then the idle process.
func (l *link) sweep() {
	if l.options.Idle < 0 {
		return
	}
	tick := time.NewTicker(max(l.options.Idle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-l.done:
			return
		case <-tick.C:
			if l.idle() {
				l.log.Info("stdio server is idle and is stopped")
				l.halt(errNoLink, true)
				return
			}
		}
	}
}

// unusedSince says when the process was last used, if it is of no use now.
func (l *link) unusedSince() (last time.Time, free bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used, len(l.calls) == 0 && len(l.sessions) == 0
}

// idle drops the sessions that were not used for a while and says whether
// nothing is left.
func (l *link) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	busy := map[*session]bool{}
	for _, c := range l.calls {
		busy[c.session] = true
	}
	for s := range l.sessions {
		if !busy[s] && s.idleFor() >= l.options.Idle {
			l.drop(s)
		}
	}
	return len(l.calls) == 0 && len(l.sessions) == 0 && time.Since(l.used) >= l.options.Idle
}
