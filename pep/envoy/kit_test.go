package envoy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.uber.org/goleak"

	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/proxy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// decider denies the tool "never", hides "secret", in listings as well, wants a
// person for "refund", with whatever rounds there could be, and lets all else pass of whom
// has the token. It keeps what it is told became of that.
type decider struct {
	v1.UnimplementedDecisionServiceServer
	mu        sync.Mutex
	decided   int
	asked     []*v1.DecideRequest
	completed map[string][]*v1.Outcome
	add       []*v1.Obligation // to what is allowed
}

const token = "mcpg_token"

func (d *decider) Decide(_ context.Context, r *v1.DecideRequest) (*v1.DecideResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.decided++
	d.asked = append(d.asked, r)
	res := &v1.DecideResponse{
		DecisionId: fmt.Sprintf("d%d", d.decided), Effect: v1.Effect_EFFECT_ALLOW, ReasonCode: v1.ReasonCode_REASON_CODE_POLICY,
		Obligations: []*v1.Obligation{{Act: &v1.Obligation_SetHeader{SetHeader: &v1.SetHeader{Name: "X-Key", Value: "upstream"}}}},
	}
	res.Obligations = append(res.Obligations, d.add...)
	refuse := func(effect v1.Effect, why v1.ReasonCode) {
		res.Effect, res.ReasonCode, res.Reason, res.Obligations = effect, why, "No.", nil
	}
	switch {
	case r.GetFault() != nil:
		refuse(v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_MALFORMED)
	case r.GetEvidence().GetBearerToken() != token:
		refuse(v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_UNAUTHENTICATED)
	case r.GetTarget().GetName() == "never":
		refuse(v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_POLICY)
	case r.GetTarget().GetName() == "refund":
		refuse(v1.Effect_EFFECT_APPROVE, v1.ReasonCode_REASON_CODE_APPROVAL_REQUIRED)
		res.Approval = &v1.PendingApproval{Id: "ap1", Url: "https://gate.example/approvals/ap1", RequestState: []byte("sealed"), Round: 1}
	case r.GetTarget().GetName() == "secret":
		refuse(v1.Effect_EFFECT_HIDE, v1.ReasonCode_REASON_CODE_NO_MATCH)
	}
	return res, nil
}

func (d *decider) DecideList(_ context.Context, r *v1.DecideListRequest) (*v1.DecideListResponse, error) {
	res := &v1.DecideListResponse{}
	for _, item := range r.GetItems() {
		effect := v1.Effect_EFFECT_ALLOW
		if item.GetName() == "secret" {
			effect = v1.Effect_EFFECT_HIDE
		}
		res.Items = append(res.Items, &v1.ItemDecision{Effect: effect})
	}
	return res, nil
}

func (d *decider) AwaitApproval(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	return nil, errors.ErrUnsupported
}

func (d *decider) Complete(_ context.Context, r *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.completed[r.GetDecisionId()] = append(d.completed[r.GetDecisionId()], r.GetOutcome())
	return &v1.CompleteResponse{}, nil
}

// seam is a Server over a whole proxy that knows the server "up".
type seam struct {
	*Server
	decider *decider
	close   func() // ends everything, so that all outcomes are told
}

func newSeam(t *testing.T, change ...func(*proxy.Options)) *seam {
	t.Helper()
	d := &decider{completed: map[string][]*v1.Outcome{}}
	quiet := slog.New(slog.DiscardHandler)
	e := pep.NewEnforcer(d, pep.EnforcerOptions{Deadline: time.Minute, Logger: quiet})
	o := proxy.Options{
		Enforcer: e, Logger: quiet, Transport: v1.Transport_TRANSPORT_ENVOY,
		Servers: []proxy.Server{{Name: "up", URL: &url.URL{Scheme: "http", Host: "up.example", Path: "/mcp"}, Transport: Transport{}}},
	}
	for _, c := range change {
		c(&o)
	}
	p, err := proxy.New(o)
	if err != nil {
		t.Fatal(err)
	}
	s := &seam{Server: NewServer(Options{Proxy: p, OAuthPath: "/oauth"}), decider: d}
	s.close = sync.OnceFunc(func() {
		if err := p.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := e.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(s.close)
	return s
}

// outcomes are those of a decision, once everything has ended.
func (s *seam) outcomes(id string) []*v1.Outcome {
	s.close()
	s.decider.mu.Lock()
	defer s.decider.mu.Unlock()
	return s.decider.completed[id]
}

// under is how many exchanges are under way.
func (s *seam) under() int {
	s.exchanges.mu.Lock()
	defer s.exchanges.mu.Unlock()
	return len(s.exchanges.byDecision)
}

// empty waits until none is: they leave aside.
func (s *seam) empty(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); s.under() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests are still under way", s.under())
		}
	}
}

func frame(tool string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":%q,"arguments":{}}}`, tool)
}

// ask is Envoy's question about a POST of a frame, with headers besides those
// that a call needs: names and values in turn.
func ask(body string, headers ...string) *authv3.CheckRequest {
	all := append([]string{
		":method", http.MethodPost, ":path", "/mcp/up/", ":authority", "localhost",
		"content-type", "application/json", "accept", "application/json, text/event-stream", "x-request-id", "r-1",
	}, headers...)
	m := &corev3.HeaderMap{}
	for ; len(all) >= 2; all = all[2:] {
		m.Headers = append(m.Headers, &corev3.HeaderValue{Key: all[0], RawValue: []byte(all[1])})
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: map[string]string{contextServer: "up"},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: http.MethodPost, Path: "/mcp/up/", Host: "localhost", Protocol: "HTTP/1.1", HeaderMap: m, RawBody: []byte(body),
		}},
	}}
}

// authorized is the client's token as ask takes it.
var authorized = []string{"authorization", "Bearer " + token}
