package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func TestMain(m *testing.M) {
	// After a refusal of its own, net/http lingers for half a second.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// fakePDP decides as its rule says and keeps all that it was asked.
type fakePDP struct {
	v1.UnimplementedDecisionServiceServer
	mu        sync.Mutex
	asked     []*v1.DecideRequest
	lists     []*v1.DecideListRequest
	completed map[string]*v1.Outcome
	n         int

	// rule decides; nil allows.
	rule func(*v1.DecideRequest) *v1.DecideResponse
	// hidden names are left out of listings, and calls to them are hidden.
	hidden map[string]bool
	// revoked tokens are not good any more when listings are decided.
	revoked map[string]bool
	// broken makes every list decision fail.
	broken bool
	// await waits for approvals; nil cannot.
	await func(ctx context.Context, state string) (pending bool, err error)
	// blind makes it allow names that do not exist.
	blind bool
	// renew renews credentials, and delegate makes grants; nil cannot.
	renew    func(*v1.RenewCredentialRequest) *v1.RenewCredentialResponse
	delegate func(*v1.DelegateGrantRequest) *v1.DelegateGrantResponse
	renewals int
	hang     func(context.Context) // before a renewal; nil: at once
}

// tokens are who the fake PDP knows.
var tokens = map[string]*v1.Subject{
	"alice":  {Id: "alice", Type: "person"},
	"alice2": {Id: "alice", Type: "person"},
	"bob":    {Id: "bob", Type: "agent"},
}

func (f *fakePDP) Decide(_ context.Context, r *v1.DecideRequest) (*v1.DecideResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.n++
	f.asked = append(f.asked, r)
	subject := tokens[r.GetEvidence().GetBearerToken()]
	d := f.judge(r, subject)
	d.DecisionId = fmt.Sprintf("d%d", f.n)
	d.Subject = subject
	if subject != nil {
		d.GrantId = "grant-" + strings.TrimSuffix(r.GetEvidence().GetBearerToken(), "2")
	}
	return d, nil
}

func (f *fakePDP) judge(r *v1.DecideRequest, subject *v1.Subject) *v1.DecideResponse {
	switch {
	case r.GetFault() != nil:
		return deny(v1.ReasonCode_REASON_CODE_MALFORMED, r.GetFault().GetReason())
	case r.GetEvidence().GetBearerToken() == "":
		return deny(v1.ReasonCode_REASON_CODE_UNAUTHENTICATED, "No token was sent.")
	case subject == nil:
		return deny(v1.ReasonCode_REASON_CODE_INVALID_TOKEN, "The token is not valid.")
	case f.hidden[r.GetTarget().GetName()], !f.blind && r.GetTarget().GetPresence() == v1.Presence_PRESENCE_ABSENT:
		return &v1.DecideResponse{Effect: v1.Effect_EFFECT_HIDE, ReasonCode: v1.ReasonCode_REASON_CODE_NO_MATCH}
	case f.rule != nil:
		return f.rule(r)
	}
	return allow()
}

func allow(obligations ...*v1.Obligation) *v1.DecideResponse {
	return &v1.DecideResponse{Effect: v1.Effect_EFFECT_ALLOW, ReasonCode: v1.ReasonCode_REASON_CODE_POLICY, Obligations: obligations}
}

func deny(code v1.ReasonCode, reason string) *v1.DecideResponse {
	return &v1.DecideResponse{Effect: v1.Effect_EFFECT_DENY, ReasonCode: code, Reason: reason}
}

func setHeader(name, value string) *v1.Obligation {
	return &v1.Obligation{Act: &v1.Obligation_SetHeader{SetHeader: &v1.SetHeader{Name: name, Value: value}}}
}

func (f *fakePDP) DecideList(_ context.Context, r *v1.DecideListRequest) (*v1.DecideListResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lists = append(f.lists, r)
	if f.broken {
		return nil, errors.New("no list decisions today")
	}
	res := &v1.DecideListResponse{}
	if f.revoked[r.GetEvidence().GetBearerToken()] {
		res.ReasonCode = v1.ReasonCode_REASON_CODE_REVOKED_TOKEN
	}
	for _, it := range r.GetItems() {
		effect := v1.Effect_EFFECT_ALLOW
		if f.hidden[it.GetName()] || tokens[r.GetEvidence().GetBearerToken()] == nil {
			effect = v1.Effect_EFFECT_HIDE
		}
		res.Items = append(res.Items, &v1.ItemDecision{Effect: effect})
	}
	return res, nil
}

func (f *fakePDP) AwaitApproval(ctx context.Context, r *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	if f.await == nil {
		return nil, errors.ErrUnsupported
	}
	pending, err := f.await(ctx, string(r.GetRequestState()))
	return &v1.AwaitApprovalResponse{Pending: pending}, err
}

func (f *fakePDP) RenewCredential(ctx context.Context, r *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error) {
	f.mu.Lock()
	f.renewals++
	f.mu.Unlock()
	if f.hang != nil {
		f.hang(ctx)
		return nil, ctx.Err()
	}
	if f.renew == nil {
		return nil, errors.ErrUnsupported
	}
	return f.renew(r), nil
}

func (f *fakePDP) DelegateGrant(_ context.Context, r *v1.DelegateGrantRequest) (*v1.DelegateGrantResponse, error) {
	if f.delegate == nil {
		return nil, errors.ErrUnsupported
	}
	return f.delegate(r), nil
}

func (f *fakePDP) Complete(_ context.Context, r *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.completed == nil {
		f.completed = make(map[string]*v1.Outcome)
	}
	if f.completed[r.GetDecisionId()] != nil {
		return nil, fmt.Errorf("completed twice: %s", r.GetDecisionId())
	}
	f.completed[r.GetDecisionId()] = r.GetOutcome()
	return &v1.CompleteResponse{}, nil
}

// questions are the decisions asked for, in short: "to_server tools/call echo".
func (f *fakePDP) questions() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []string
	for _, q := range f.asked {
		s := q.GetMethod()
		if q.GetTarget() != nil {
			s += " " + q.GetTarget().GetName()
		}
		if q.GetContext().GetDirection() == v1.Direction_DIRECTION_TO_CLIENT {
			s = "<- " + s
		}
		if q.GetFault() != nil {
			s += " !" + q.GetFault().GetRule()
		}
		out = append(out, strings.TrimSpace(s))
	}
	return out
}

func (f *fakePDP) last() *v1.DecideRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.asked) == 0 {
		return nil
	}
	return f.asked[len(f.asked)-1]
}

// outcome waits for the completion of the n-th decision, counted from 1.
func (f *fakePDP) outcome(t *testing.T, n int) *v1.Outcome {
	t.Helper()
	var o *v1.Outcome
	eventually(t, "a completion", func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		o = f.completed[fmt.Sprintf("d%d", n)]
		return o != nil
	})
	return o
}

func (f *fakePDP) revoke(token string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.revoked = map[string]bool{token: true}
}

func (f *fakePDP) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked, f.lists = nil, nil
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s did not happen within 5 s", what)
		}
	}
}

// seen is one request that the upstream got.
type seen struct {
	Method string
	Header http.Header
	Host   string
	Body   string
}

// fakeServer is an upstream that records what arrives.
type fakeServer struct {
	*httptest.Server
	mu    sync.Mutex
	got   []seen
	reply func(w http.ResponseWriter, r *http.Request, body string)
}

func newServer(t *testing.T, reply func(w http.ResponseWriter, r *http.Request, body string)) *fakeServer {
	s := &fakeServer{reply: reply}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *fakeServer) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	s.mu.Lock()
	s.got = append(s.got, seen{Method: r.Method, Header: r.Header.Clone(), Host: r.Host, Body: string(body)})
	reply := s.reply
	s.mu.Unlock()
	reply(w, r, string(body))
}

func (s *fakeServer) requests() []seen {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]seen(nil), s.got...)
}

// calls are the bodies that arrived, without the gateway's own questions.
func (s *fakeServer) calls() []string {
	var out []string
	for _, r := range s.requests() {
		if r.Method == http.MethodPost && !strings.Contains(r.Body, ownPrefix) {
			out = append(out, r.Body)
		}
	}
	return out
}

// idOf takes the id out of a request.
func idOf(body string) string {
	var id string
	members([]byte(body), func(name string, value []byte) bool {
		if name == "id" {
			id = string(value)
		}
		return true
	})
	return id
}

func replyJSON(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body)
}

func result(id, result string) string {
	return `{"jsonrpc":"2.0","id":` + id + `,"result":` + result + `}`
}

const toolList = `{"tools":[{"name":"echo","inputSchema":{"type":"object"}},{"name":"secret","inputSchema":{"type":"object"}},{"name":"sum","inputSchema":{"type":"object"}}]}`

// tools is an ordinary stateless server with three tools.
func tools(w http.ResponseWriter, r *http.Request, body string) {
	id := idOf(body)
	switch method := member([]byte(body), "method"); {
	case r.Method != http.MethodPost:
		w.WriteHeader(http.StatusMethodNotAllowed)
	case id == "":
		w.WriteHeader(http.StatusAccepted)
	case method == "tools/list":
		replyJSON(w, result(id, toolList))
	case method == "prompts/list":
		replyJSON(w, result(id, `{"prompts":[{"name":"brief"}]}`))
	default:
		replyJSON(w, result(id, `{"content":[{"type":"text","text":"done"}]}`))
	}
}

// gateway is a proxy under test, served as it is in production.
// answer is what a client got.
// request is one request of a client. Set "-" removes a default header.
