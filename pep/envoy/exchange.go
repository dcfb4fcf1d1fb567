package envoy

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/mcpermit/mcpermit/pep/proxy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// exchange is one request of a client on its way through Envoy. To the proxy it
// is the ResponseWriter and, for the one request that goes on, the upstream.
//
// It outlives the check in which it began: until the proxy has finished with
// the answer, or Envoy has told how the request ended.
type exchange struct {
	ctx    context.Context //nolint:containedctx // of the whole exchange, not of one check
	cancel context.CancelCauseFunc

	handed chan *http.Request // the request that goes on; once
	done   chan struct{}      // closed when the proxy has finished
	head   chan upstreamHead  // how Envoy's part went on; once
	pieces chan []byte        // of a streamed answer

	// Written by the proxy's goroutine; read by others only after a receive from
	// handed, done or pieces.
	question *v1.DecideRequest
	decision *v1.DecideResponse
	passage  proxy.Passage
	header   http.Header
	status   int
	buffer   []byte

	once sync.Once // head is filled
}

// upstreamHead is the upstream's answer, or why there is none to read.
type upstreamHead struct {
	response *http.Response
	err      error
}

var (
	errCheckOver = errors.New("nobody waits for the check any more")
	errOver      = errors.New("the request is over")
	errSecond    = errors.New("only one request goes on through Envoy")
)

func newExchange() *exchange {
	x := &exchange{
		handed: make(chan *http.Request, 1), done: make(chan struct{}), head: make(chan upstreamHead, 1),
		pieces: make(chan []byte), header: http.Header{},
	}
	x.ctx, x.cancel = context.WithCancelCause(context.WithValue(context.Background(), exchangeKey{}, x))
	return x
}

type exchangeKey struct{}

// serve has the proxy serve the request.
func (x *exchange) serve(p http.Handler, r *http.Request) {
	defer x.cancel(errOver)
	defer close(x.done)
	p.ServeHTTP(x, r)
}

// abandon ends an exchange of which Envoy has not heard that it may go on. The
// proxy may see either of the two first.
func (x *exchange) abandon(why error) {
	why = errors.Join(proxy.ErrNotSent, why)
	x.settle(upstreamHead{err: why})
	x.cancel(why)
}

// Decided implements proxy.Observer.
func (x *exchange) Decided(q *v1.DecideRequest, d *v1.DecideResponse) { x.question, x.decision = q, d }

// forward hands the request on and waits for what comes of it.
func (x *exchange) forward(r *http.Request, passage proxy.Passage) (*http.Response, error) {
	x.passage = passage
	select {
	case x.handed <- r:
	default:
		return nil, errors.Join(proxy.ErrNotSent, errSecond)
	}
	select {
	case head := <-x.head:
		return head.response, head.err
	case <-r.Context().Done():
		return nil, context.Cause(r.Context())
	}
}

// settle says how Envoy's part went on. Only the first call counts.
func (x *exchange) settle(head upstreamHead) (first bool) {
	x.once.Do(func() {
		x.head <- head
		first = true
	})
	return first
}

// Header implements http.ResponseWriter.
func (x *exchange) Header() http.Header { return x.header }

// WriteHeader implements http.ResponseWriter.
func (x *exchange) WriteHeader(status int) {
	if x.status == 0 {
		x.status = status
	}
}

// Write implements http.ResponseWriter. Nothing leaves before a flush, or the
// end.
func (x *exchange) Write(b []byte) (int, error) {
	x.WriteHeader(http.StatusOK)
	if err := context.Cause(x.ctx); err != nil {
		return 0, err
	}
	x.buffer = append(x.buffer, b...)
	return len(b), nil
}

// FlushError sends a part of a stream to whoever reads the answer for Envoy. An
// answer whose length is known goes as a whole.
func (x *exchange) FlushError() error {
	x.WriteHeader(http.StatusOK)
	if _, whole := x.header["Content-Length"]; whole {
		return nil
	}
	select {
	case x.pieces <- x.buffer:
		x.buffer = nil
		return nil
	case <-x.ctx.Done():
		return context.Cause(x.ctx)
	}
}

// headers are those of the answer, in order, each as set makes it. Its length is
// Envoy's to say.
func (x *exchange) headers(set func(name, value string) *corev3.HeaderValueOption) (all []*corev3.HeaderValueOption) {
	for _, name := range slices.Sorted(maps.Keys(x.header)) {
		if name != "Content-Length" {
			all = append(all, set(name, strings.Join(x.header[name], ", ")))
		}
	}
	return all
}

// code is the status of the answer.
func (x *exchange) code() int { return max(x.status, http.StatusOK) }

// SetReadDeadline and SetWriteDeadline do nothing: Envoy has the connection.
func (x *exchange) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (x *exchange) SetWriteDeadline(time.Time) error { return nil }
