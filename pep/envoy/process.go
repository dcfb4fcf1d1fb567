package envoy

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
)

var errEnvoyGone = errors.New("the request was given up")

// Process implements envoy.service.ext_proc.v3 for answers alone, in body mode
// FULL_DUPLEX_STREAMED: then the answer's own head can wait until enough of the
// body was read to know it. What is not the answer to an exchange of this
// process is refused: nobody here could say what may pass of it. (I1) But for a
// refusal, which has been said already.
func (s *Server) Process(stream procv3.ExternalProcessor_ProcessServer) error {
	first, err := stream.Recv()
	if err != nil {
		return err
	}
	head := first.GetResponseHeaders()
	if head == nil {
		return status.Error(codes.FailedPrecondition, "configure the ext_proc filter for answers only, as `mcpermit-pep envoy config` does")
	}
	left := first.GetMetadataContext().GetFilterMetadata()[filterNamespace]
	x := s.exchanges.get(text(left, metaDecision))
	switch {
	case x != nil:
	case isRefusal(left):
		return echo(stream, first)
	default:
		return status.Error(codes.NotFound, "this answer belongs to no request that was decided on here")
	}
	defer x.cancel(errEnvoyGone)
	body, feed := io.Pipe()
	res := response(head, body) //nolint:bodyclose // the proxy closes it
	a := &answer{
		stream: stream, x: x, bodiless: head.GetEndOfStream(), flowing: make(chan struct{}), whole: make(chan struct{}),
		theirs: slices.Sorted(maps.Keys(res.Header)),
	}
	if !x.settle(upstreamHead{response: res}) {
		return status.Error(codes.FailedPrecondition, "the request has ended already")
	}
	go a.receive(feed)
	return a.pass()
}

// response is the upstream's answer as the proxy would have got it.
func response(head *procv3.HttpHeaders, body io.ReadCloser) *http.Response {
	res := &http.Response{Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: body, ContentLength: -1}
	if head.GetEndOfStream() {
		res.Body, res.ContentLength = http.NoBody, 0
	}
	for _, v := range head.GetHeaders().GetHeaders() {
		if v.GetKey() == ":status" {
			res.StatusCode, _ = strconv.Atoi(valueOf(v))
			continue
		}
		res.Header.Add(v.GetKey(), valueOf(v))
	}
	return res
}

// answer is one answer on its way back through Envoy.
type answer struct {
	stream procv3.ExternalProcessor_ProcessServer
	x      *exchange
	theirs []string // names of the upstream's headers
	begun  bool     // the head has been passed on

	bodiless bool          // the upstream's head was all
	flowing  chan struct{} // closed when something has come after the upstream's head
	held     []byte        // of the body, until Envoy takes it
	whole    chan struct{} // closed when the upstream's answer has arrived whole
	trailers atomic.Bool   // there are some; to be read after whole is closed
}

// receive feeds the upstream's body to the proxy. That the answer is whole is
// known before the proxy can have finished with it.
func (a *answer) receive(feed *io.PipeWriter) {
	flow, end := sync.OnceFunc(func() { close(a.flowing) }), sync.OnceFunc(func() { close(a.whole) })
	if a.bodiless {
		end()
	}
	for {
		m, err := a.stream.Recv()
		if err != nil {
			feed.CloseWithError(errEnvoyGone)
			a.x.cancel(errEnvoyGone)
			return
		}
		switch m := m.GetRequest().(type) {
		case *procv3.ProcessingRequest_ResponseBody:
			flow()
			last := m.ResponseBody.GetEndOfStream()
			if last {
				end()
			}
			// The proxy may have stopped reading: what is left goes nowhere.
			_, _ = feed.Write(m.ResponseBody.GetBody())
			if last {
				feed.Close()
			}
		case *procv3.ProcessingRequest_ResponseTrailers:
			flow()
			a.trailers.Store(true)
			end()
			feed.Close()
		}
	}
}

// pass sends Envoy what the proxy writes, until it has finished.
func (a *answer) pass() error {
	for {
		select {
		case piece := <-a.x.pieces:
			if err := a.part(piece); err != nil {
				return err
			}
		case <-a.x.done:
			return a.finish()
		case <-a.stream.Context().Done():
			return status.FromContextError(a.stream.Context().Err()).Err()
		}
	}
}

// part passes on a part of a stream, as soon as Envoy takes it: nothing after
// the head before the upstream's own body has begun, such as the comments that
// keep a silent stream open, and nothing at all for a head that was the end.
func (a *answer) part(b []byte) error {
	a.held = append(a.held, b...)
	if a.bodiless {
		return nil
	}
	if err := a.open(); err != nil {
		return err
	}
	select {
	case <-a.flowing:
	default:
		return nil
	}
	if b, a.held = a.held, nil; len(b) == 0 {
		return nil
	}
	return a.body(b, false)
}

// finish sends the rest. What the proxy answered before it had the whole of
// the upstream's answer takes that one's place at once; a stream of which a
// part has gone out already can only be ended.
func (a *answer) finish() error {
	whole := false
	select {
	case <-a.whole:
		whole = true
	default:
	}
	rest := append(a.held, a.x.buffer...)
	switch {
	case !a.begun && (!whole || a.bodiless && len(rest) > 0):
		return a.stream.Send(a.instead(rest))
	case !whole:
		// Envoy takes no end from here before the upstream's. An aborted stream
		// is the sign of an answer that was cut short.
		return status.Error(codes.Aborted, "the answer was cut short")
	case a.bodiless:
		return a.open()
	}
	if err := a.open(); err != nil {
		return err
	}
	trailers := a.trailers.Load()
	if err := a.body(rest, !trailers); err != nil || !trailers {
		return err
	}
	return a.stream.Send(&procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseTrailers{
		ResponseTrailers: &procv3.TrailersResponse{},
	}})
}

// open sends the head, once.
func (a *answer) open() error {
	if a.begun {
		return nil
	}
	a.begun = true
	return a.stream.Send(a.head())
}

// body sends a part of the body.
func (a *answer) body(b []byte, end bool) error {
	return a.stream.Send(streamed(b, end))
}

// head is the proxy's head in place of the upstream's.
func (a *answer) head() *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseHeaders{
		ResponseHeaders: &procv3.HeadersResponse{Response: &procv3.CommonResponse{HeaderMutation: a.mutation(true)}},
	}}
}

func (a *answer) mutation(withStatus bool) *procv3.HeaderMutation {
	m := &procv3.HeaderMutation{}
	if withStatus {
		m.SetHeaders = append(m.SetHeaders, setRaw(":status", strconv.Itoa(a.x.code())))
	}
	m.SetHeaders = append(m.SetHeaders, a.x.headers(setRaw)...)
	if withStatus {
		for _, name := range a.theirs {
			if _, stays := a.x.header[name]; !stays {
				m.RemoveHeaders = append(m.RemoveHeaders, strings.ToLower(name))
			}
		}
	}
	return m
}

// setRaw is for ext_proc, which reads values as bytes alone.
func setRaw(name, value string) *corev3.HeaderValueOption {
	h := setHeader(name, "")
	h.Header.RawValue = []byte(value)
	return h
}

// instead is an answer that takes the place of the upstream's.
func (a *answer) instead(body []byte) *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ImmediateResponse{
		ImmediateResponse: &procv3.ImmediateResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(a.x.code())},
			Headers: a.mutation(false), Body: body, Details: "mcpermit_refused_answer",
		},
	}}
}

// text is a string member of a struct, "" when it is absent.
func text(s *structpb.Struct, name string) string { return s.GetFields()[name].GetStringValue() }
