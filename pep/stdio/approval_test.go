package stdio

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/proxy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// cautious is lenient, but for tools/call: a person has to approve it.
type cautious struct {
	lenient
	approved chan struct{} // closed when one has
}

func (p *cautious) Decide(ctx context.Context, r *v1.DecideRequest) (*v1.DecideResponse, error) {
	d, err := p.lenient.Decide(ctx, r)
	if r.GetMethod() != "tools/call" || r.GetFault() != nil {
		return d, err
	}
	select {
	case <-p.approved:
		if string(r.GetApprovalRound().GetRequestState()) == "sealed" {
			return d, err
		}
	default:
	}
	d.Effect, d.Reason = v1.Effect_EFFECT_APPROVE, "Ask."
	d.Approval = &v1.PendingApproval{Id: "ap1", Url: "https://gate.example/approvals/ap1"}
	if r.GetApprovalRound() != nil {
		d.Approval.RequestState, d.Approval.Round = []byte("sealed"), 1
	}
	return d, err
}

func (p *cautious) AwaitApproval(ctx context.Context, r *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	select {
	case <-p.approved:
	case <-time.After(r.GetPatience().AsDuration()):
	case <-ctx.Done():
	}
	return &v1.AwaitApprovalResponse{}, ctx.Err()
}

// From a client over stdio to a server over stdio: the client is asked, its call
// is held, and what the server gets has nothing of it.
func TestI8_ApprovalOverStandardStreams(t *testing.T) {
	const (
		url    = `"io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}`
		answer = `"inputResponses":{"mcpermit-approval-1":{"action":"accept"}},"requestState":"mcpermit-approval.1.c2VhbGVk.."`
	)
	asking := func(id, more string) string {
		frame := strings.Replace(modern(toolCall(id, "echo", `{"n":1}`)), `"io.modelcontextprotocol/clientCapabilities":{}`, url, 1)
		return strings.TrimSuffix(frame, "}}") + more + "}}"
	}
	synctest.Test(t, func(t *testing.T) {
		child, _ := newFake(t, ChildOptions{})
		defer child.Close()
		pdp := &cautious{lenient: lenient{completed: map[string]*v1.Outcome{}}, approved: make(chan struct{})}
		enforcer := pep.NewEnforcer(pdp, pep.EnforcerOptions{Logger: quietLog})
		defer enforcer.Close(context.Background())
		p, err := proxy.New(proxy.Options{
			Servers:  []proxy.Server{{Name: "files", Transport: child}},
			Enforcer: enforcer, Transport: v1.Transport_TRANSPORT_STDIO, Logger: quietLog,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = p.Shutdown(context.Background()) }()
		c := converse(t, p, nil)

		asked := c.say(asking("1", ""))
		if len(asked) != 1 || !strings.Contains(asked[0], `"id":1,"result":{"resultType":"input_required","inputRequests":{"mcpermit-approval-1":{"method":"elicitation/create","params":{"mode":"url"`) ||
			!strings.Contains(asked[0], `"requestState":"mcpermit-approval.1.c2VhbGVk.."`) {
			t.Fatalf("asked %q", asked)
		}
		pdp.took()
		if got := c.say(asking("2", ","+answer), asking("3", ","+answer)); len(got) != 0 || len(pdp.took()) != 0 {
			t.Errorf("while the calls are held: %q", got)
		}
		// The client does not want the second one any more.
		if got := c.say(modern(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}`)); len(got) != 0 {
			t.Errorf("cancelled: %q", got)
		}
		if diff := cmp.Diff([]string{"fault client-gone"}, pdp.took()); diff != "" {
			t.Errorf("decisions (-want +got):\n%s", diff)
		}
		close(pdp.approved)
		c.want(c.say(), `{"jsonrpc":"2.0","id":2,"result":{"content":[],"structuredContent":{"n":1}}}`)
		if diff := cmp.Diff([]string{"tools/call"}, pdp.took()); diff != "" {
			t.Errorf("decisions (-want +got):\n%s", diff)
		}
		c.end()
	})
}
