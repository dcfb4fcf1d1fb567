package stdio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
)

// inProcess is an http.RoundTripper to a handler in the same process. Answers
// stream: what the handler writes can be read at once, and it writes no faster
// than it is read. To close an answer's body ends the request's context, as a
// client that disconnects does.
type inProcess struct {
	handler http.Handler
	log     *slog.Logger
	running *sync.WaitGroup // the handler's calls
}

// RoundTrip implements http.RoundTripper.
func (t inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancel(r.Context())
	in := r.WithContext(ctx)
	in.RequestURI = r.URL.RequestURI()
	in.Proto, in.ProtoMajor, in.ProtoMinor = "HTTP/1.1", 1, 1
	if in.Body == nil {
		in.Body = http.NoBody
	}
	body, end := io.Pipe()
	w := &responseWriter{header: http.Header{}, body: end, began: make(chan struct{})}
	t.running.Go(func() { t.serve(w, in) })
	select {
	case <-w.began:
	case <-ctx.Done():
		cancel()
		body.CloseWithError(ctx.Err())
		return nil, ctx.Err()
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", w.status, http.StatusText(w.status)), StatusCode: w.status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: w.sent, Body: hangUp{body, cancel}, ContentLength: -1, Request: r,
	}, nil
}

// serve calls the handler as an http.Server does: a panic ends the answer, not
// the program.
func (t inProcess) serve(w *responseWriter, r *http.Request) {
	defer func() {
		switch p := recover(); p {
		case nil:
			w.WriteHeader(http.StatusOK)
			w.body.Close()
		case http.ErrAbortHandler:
			w.abort()
		default:
			t.log.Error("the gateway failed on a request", "panic", fmt.Sprint(p))
			w.abort()
		}
	}()
	t.handler.ServeHTTP(w, r)
}

// hangUp is an answer's body.
type hangUp struct {
	*io.PipeReader
	cancel context.CancelFunc
}

// Close implements io.Closer.
func (h hangUp) Close() error {
	h.cancel()
	return h.PipeReader.Close()
}

var errAborted = errors.New("the gateway broke its answer off")

// responseWriter is the handler's side of an answer.
type responseWriter struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	began  chan struct{} // closed with the header
	status int
	sent   http.Header
}

// Header implements http.ResponseWriter.
func (w *responseWriter) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter. Informational answers are left
// out.
func (w *responseWriter) WriteHeader(status int) {
	if status < 200 {
		return
	}
	w.once.Do(func() {
		w.status, w.sent = status, w.header.Clone()
		close(w.began)
	})
}

// Write implements http.ResponseWriter.
func (w *responseWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// FlushError implements what http.ResponseController looks for: nothing is
// ever held back but the header.
func (w *responseWriter) FlushError() error {
	w.WriteHeader(http.StatusOK)
	return nil
}

// Flush implements http.Flusher.
func (w *responseWriter) Flush() { _ = w.FlushError() }

func (w *responseWriter) abort() {
	w.WriteHeader(http.StatusBadGateway)
	w.body.CloseWithError(errAborted)
}
