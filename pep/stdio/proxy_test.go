package stdio

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/proxy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// lenient is a PDP that knows every token as a subject and allows everything
// but frames that are none.
type lenient struct {
	v1.UnimplementedDecisionServiceServer
	mu        sync.Mutex
	asked     []string
	completed map[string]*v1.Outcome
}

func (p *lenient) Decide(_ context.Context, r *v1.DecideRequest) (*v1.DecideResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	d := &v1.DecideResponse{
		DecisionId: fmt.Sprint("d", len(p.asked)), Effect: v1.Effect_EFFECT_ALLOW, ReasonCode: v1.ReasonCode_REASON_CODE_POLICY,
		Subject: &v1.Subject{Id: r.GetEvidence().GetBearerToken(), Type: "person"}, GrantId: "g",
	}
	what := r.GetMethod()
	if r.GetFault() != nil {
		what = "fault " + r.GetFault().GetRule()
		d.Effect, d.ReasonCode = v1.Effect_EFFECT_DENY, v1.ReasonCode_REASON_CODE_MALFORMED
	}
	if r.GetContext().GetTransport() != v1.Transport_TRANSPORT_STDIO {
		what += " not over stdio"
	}
	p.asked = append(p.asked, what)
	return d, nil
}

func (p *lenient) DecideList(_ context.Context, r *v1.DecideListRequest) (*v1.DecideListResponse, error) {
	res := &v1.DecideListResponse{}
	for range r.GetItems() {
		res.Items = append(res.Items, &v1.ItemDecision{Effect: v1.Effect_EFFECT_ALLOW})
	}
	return res, nil
}

func (p *lenient) AwaitApproval(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	return nil, errors.ErrUnsupported
}

func (p *lenient) Complete(_ context.Context, r *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.completed[r.GetDecisionId()] = r.GetOutcome()
	return &v1.CompleteResponse{}, nil
}

func (p *lenient) took() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

// From a client that knows only a command, through the proxy, to a server that
// knows only its standard streams.
func TestI5_BothEndsAtTheProxy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		child, f := newFake(t, ChildOptions{Isolation: PerSubject})
		defer child.Close()
		pdp := &lenient{completed: map[string]*v1.Outcome{}}
		enforcer := pep.NewEnforcer(pdp, pep.EnforcerOptions{Logger: quietLog})
		defer enforcer.Close(context.Background())
		p, err := proxy.New(proxy.Options{
			Servers:  []proxy.Server{{Name: "files", Transport: child, PerSubject: true}},
			Enforcer: enforcer, Transport: v1.Transport_TRANSPORT_STDIO, Logger: quietLog,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Shutdown(context.Background()) }()
		c := converse(t, p, nil)

		for _, step := range []struct {
			line  string
			want  string // part of the only line that is written; "" is none
			asked string
		}{
			{initializeFrame("0", "2025-11-25"), `{"jsonrpc":"2.0","id":0,"result":{"protocolVersion":"2025-11-25"`, "initialize"},
			{`{"jsonrpc":"2.0","method":"notifications/initialized"}`, "", "notifications/initialized"},
			{toolCall(`"c"`, "echo", `{"n":1}`), `{"jsonrpc":"2.0","id":"c","result":{"content":[],"structuredContent":{"n":1}}}`, "tools/call"},
			{toolCall("2", "ask", "{}"), `"method":"roots/list"}`, "tools/call, roots/list"},
			{`{"jsonrpc":"2.0","id":"q1","result":{"roots":[]}}`, `{"jsonrpc":"2.0","id":2,"result":{"content":[],"structuredContent":{"answer":{"roots":[]}}}}`, "roots/list"},
			{`{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":"echo","name":"pid"}}`, `{"jsonrpc":"2.0","id":3,"error":`, "fault duplicate-name"},
			{`{"jsonrpc":"2.0",` + "\r" + `"id":3,"method":"ping"}`, `{"jsonrpc":"2.0","id":3,"error":`, "fault trailing-bytes"},
			{`nonsense`, `{"jsonrpc":"2.0","error":`, "fault "},
			{toolCall("4", "crash", "{}"), `{"jsonrpc":"2.0","id":4,"error":`, "tools/call"},
		} {
			got := c.say(step.line)
			if step.want == "" && len(got) > 0 || step.want != "" && (len(got) != 1 || !strings.Contains(got[0], step.want)) {
				t.Errorf("%s is answered with %q, want %s", step.line, got, step.want)
			}
			if asked := strings.Join(pdp.took(), ", "); !strings.HasPrefix(asked, step.asked) || strings.Contains(asked, "not over stdio") {
				t.Errorf("%s: the PDP was asked %q, want %q", step.line, asked, step.asked)
			}
		}
		if f.count() != 1 {
			t.Errorf("%d processes were started", f.count())
		}
		got := c.say(modern(toolCall(`"m"`, "echo", `{}`)))
		if !slices.Equal(got, []string{`< {"jsonrpc":"2.0","id":"m","result":{"content":[],"structuredContent":{}}}`}) {
			t.Errorf("in the modern era: %q", got)
		}
		c.end()
	})
}
