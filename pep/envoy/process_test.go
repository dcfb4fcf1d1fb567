package envoy

import (
	"context"
	"io"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// answering is Envoy's side of one answer: what it tells, and what it is told.
type answering struct {
	grpc.ServerStream
	ctx context.Context //nolint:containedctx // of the stream
	in  chan *procv3.ProcessingRequest
	out chan *procv3.ProcessingResponse
}

func newAnswering(ctx context.Context) *answering {
	return &answering{ctx: ctx, in: make(chan *procv3.ProcessingRequest), out: make(chan *procv3.ProcessingResponse, 16)}
}

func (a *answering) Context() context.Context { return a.ctx }

func (a *answering) Send(m *procv3.ProcessingResponse) error {
	a.out <- m
	return nil
}

func (a *answering) Recv() (*procv3.ProcessingRequest, error) {
	select {
	case m, ok := <-a.in:
		if !ok {
			return nil, io.EOF
		}
		return m, nil
	case <-a.ctx.Done():
		return nil, a.ctx.Err()
	}
}

// headed is the upstream's head, with what the check left behind.
func headed(t *testing.T, decision, code, kind string) *procv3.ProcessingRequest {
	t.Helper()
	m := headOf(t, map[string]any{metaDecision: decision, metaEffect: "allow", metaForward: true})
	m.GetResponseHeaders().Headers = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		{Key: ":status", RawValue: []byte(code)}, {Key: "content-type", RawValue: []byte(kind)}, {Key: "x-powered-by", RawValue: []byte("secret")},
	}}
	return m
}

func bodied(text string, end bool) *procv3.ProcessingRequest {
	return &procv3.ProcessingRequest{Request: &procv3.ProcessingRequest_ResponseBody{ResponseBody: &procv3.HttpBody{Body: []byte(text), EndOfStream: end}}}
}

func partOf(m *procv3.ProcessingResponse) (text string, end bool) {
	s := m.GetResponseBody().GetResponse().GetBodyMutation().GetStreamedResponse()
	return string(s.GetBody()), s.GetEndOfStream()
}

const (
	listFrame = `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`
	listing   = `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"echo","inputSchema":{}},{"name":"secret","inputSchema":{}}]}}`
	shown     = `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"echo","inputSchema":{}}]}}`
)

// process has the server process an answer, and returns how that ends.
func (s *seam) process(a *answering) <-chan error {
	ended := make(chan error, 1)
	go func() { ended <- s.Process(a) }()
	return ended
}

func TestI4_ListingIsFilteredOnItsWay(t *testing.T) {
	s := newSeam(t)
	res := s.check(t, ask(listFrame, authorized...))
	if !res.GetDynamicMetadata().GetFields()[metaRead].GetBoolValue() {
		t.Error("the answer to a listing would not be read")
	}
	ctx, cancel := context.WithCancel(t.Context())
	a := newAnswering(ctx)
	ended := s.process(a)
	a.in <- headed(t, decisionOf(res), "200", "application/json")
	for _, part := range []string{listing[:40], listing[40:90]} {
		a.in <- bodied(part, false)
	}
	a.in <- bodied(listing[90:], true)
	head, body := <-a.out, <-a.out
	if err := <-ended; err != nil {
		t.Error(err)
	}
	cancel() // only now: Envoy may keep the stream open
	h := head.GetResponseHeaders().GetResponse().GetHeaderMutation()
	if len(h.GetSetHeaders()) == 0 || string(h.GetSetHeaders()[0].GetHeader().GetRawValue()) != "200" || !contains(h.GetRemoveHeaders(), "x-powered-by") {
		t.Errorf("the head: %v", head)
	}
	if text, end := partOf(body); text != shown || !end {
		t.Errorf("the body: %q, the end: %t", text, end)
	}
	s.ended(over(decisionOf(res))) // the log comes later, and has nothing to add
	if o := s.outcomes(decisionOf(res)); len(o) != 1 || !o[0].GetForwarded() || o[0].GetBytes() != int64(len(shown)) {
		t.Errorf("the outcome: %v", o)
	}
}

func contains(all []string, one string) bool {
	return strings.Contains(" "+strings.Join(all, " ")+" ", " "+one+" ")
}

func TestI1_AnswerThatCannotBeReadIsReplaced(t *testing.T) {
	for name, answer := range map[string]*procv3.ProcessingRequest{
		"not JSON": bodied("secret", true),
		"not one":  bodied(listing+listing, true),
	} {
		s := newSeam(t)
		res := s.check(t, ask(listFrame, authorized...))
		ctx, cancel := context.WithCancel(t.Context())
		a := newAnswering(ctx)
		ended := s.process(a)
		a.in <- headed(t, decisionOf(res), "200", "application/json")
		a.in <- answer
		told := ""
		for told == "" {
			m := <-a.out
			told, _ = partOf(m)
			told += string(m.GetImmediateResponse().GetBody())
		}
		if err := <-ended; err != nil || strings.Contains(told, "secret") || !strings.Contains(told, `"error"`) {
			t.Errorf("%s: %q, %v", name, told, err)
		}
		cancel()
		s.close()
	}
}

// TestI1_EnvoyGoesHalfway: what has come of an answer goes nowhere.
func TestI1_EnvoyGoesHalfway(t *testing.T) {
	s := newSeam(t)
	res := s.check(t, ask(listFrame, authorized...))
	ctx, cancel := context.WithCancel(t.Context())
	a := newAnswering(ctx)
	ended := s.process(a)
	a.in <- headed(t, decisionOf(res), "200", "application/json")
	a.in <- bodied(listing[:90], false)
	cancel()
	if err := <-ended; status.Code(err) != codes.Canceled && status.Code(err) != codes.OK {
		t.Errorf("ended with %v", err)
	}
	s.close()
	for len(a.out) > 0 {
		if m := <-a.out; strings.Contains(m.String(), "echo") {
			t.Errorf("told %v", m)
		}
	}
	if o := s.outcomes(decisionOf(res)); len(o) != 1 || o[0].GetError() == "" {
		t.Errorf("the outcome: %v", o)
	}
	s.empty(t)
}

func TestI1_AnswerToARequestThatIsOverIsRefused(t *testing.T) {
	s := newSeam(t)
	res := s.check(t, ask(listFrame, authorized...))
	s.ended(over(decisionOf(res)))
	a := newAnswering(t.Context())
	ended := s.process(a)
	a.in <- headed(t, decisionOf(res), "200", "application/json")
	if err := <-ended; status.Code(err) != codes.NotFound && status.Code(err) != codes.FailedPrecondition {
		t.Errorf("ended with %v", err)
	}
	if len(a.out) > 0 {
		t.Errorf("told %v", <-a.out)
	}
}

// TestBodyWaitsForTheServers: Envoy takes a part of a body that comes before the
// server's for spurious, and ends the answer.
func TestBodyWaitsForTheServers(t *testing.T) {
	x := newExchange()
	defer x.cancel(errOver)
	stream := newAnswering(t.Context())
	a := &answer{stream: stream, x: x, flowing: make(chan struct{}), whole: make(chan struct{})}
	for _, part := range []string{"", ":\n\n", ""} {
		if err := a.part([]byte(part)); err != nil {
			t.Fatal(err)
		}
	}
	if len(stream.out) != 1 || (<-stream.out).GetResponseHeaders() == nil {
		t.Fatal("not the head alone was sent")
	}
	close(a.flowing)
	if err := a.part([]byte("data: {}\n\n")); err != nil {
		t.Fatal(err)
	}
	if text, end := partOf(<-stream.out); text != ":\n\ndata: {}\n\n" || end {
		t.Errorf("sent %q, the end: %t", text, end)
	}
}
