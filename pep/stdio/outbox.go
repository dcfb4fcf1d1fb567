package stdio

import (
	"cmp"
	"context"
	"io"
	"sync"
)

// message is one frame on its way to the client.
type message struct {
	frame  []byte
	final  bool // nothing follows
	status int  // of an HTTP answer that starts with this message; 0 is 200
}

// outbox holds what waits to be read by one HTTP answer. Who puts never
// waits: a child's output is read by one goroutine for everybody.
type outbox struct {
	mu       sync.Mutex
	waiting  []message
	bytes    int
	capacity int // of bytes
	closed   bool
	err      error         // why it was closed, when that was no clean end
	changed  chan struct{} // has room for one
}

// mostWaiting bounds the number of messages in an outbox.
const mostWaiting = 1024

func newOutbox(capacity int) *outbox {
	return &outbox{capacity: capacity, changed: make(chan struct{}, 1)}
}

// put adds a message that may be lost. It says whether there was room.
func (o *outbox) put(m message) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(o.waiting) >= mostWaiting || len(o.waiting) > 0 && o.bytes+len(m.frame) > o.capacity {
		return false
	}
	o.add(m)
	return true
}

// full says whether more than that waits already.
func (o *outbox) full(messages, bytes int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.waiting) >= messages || o.bytes > bytes
}

// finish adds the last message, whether there is room or not, and closes.
func (o *outbox) finish(m message) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	m.final = true
	o.add(m)
	o.closed = true
}

// close ends the outbox without a last message, cleanly if err is nil. What
// waits can still be taken.
func (o *outbox) close(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	o.closed, o.err = true, err
	o.wake()
}

func (o *outbox) add(m message) {
	o.waiting = append(o.waiting, m)
	o.bytes += len(m.frame)
	o.wake()
}

func (o *outbox) wake() {
	select {
	case o.changed <- struct{}{}:
	default:
	}
}

// take waits for the next message. There is and will be none after io.EOF or
// the error that the outbox was closed with. Only one reader at a time may
// take.
func (o *outbox) take(ctx context.Context) (message, error) {
	for {
		o.mu.Lock()
		if len(o.waiting) > 0 {
			m := o.waiting[0]
			o.waiting[0] = message{}
			o.waiting = o.waiting[1:]
			o.bytes -= len(m.frame)
			o.mu.Unlock()
			return m, nil
		}
		closed, err := o.closed, o.err
		o.mu.Unlock()
		if closed {
			return message{}, cmp.Or(err, io.EOF)
		}
		select {
		case <-o.changed:
		case <-ctx.Done():
			return message{}, ctx.Err()
		}
	}
}
