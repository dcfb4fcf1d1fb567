package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pep"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// asking makes a 2026-07-28 request of a client that opens links.
func asking(id, method, params string) (body string, header []string) {
	body, header = modern(id, method, params)
	return strings.Replace(body, `clientCapabilities":{}`, `clientCapabilities":{"elicitation":{"url":{}}}`, 1), header
}

const echoCall = `"name":"echo","arguments":{"amount":5}`

// approvals is a PDP whose policy wants an approval of every tools/call.
type approvals struct {
	*fakePDP
	approved, refused chan struct{} // closed when a person has decided
}

func newApprovals() *approvals {
	a := &approvals{approved: make(chan struct{}), refused: make(chan struct{})}
	a.fakePDP = &fakePDP{rule: a.decide, await: a.wait}
	return a
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func (a *approvals) decide(r *v1.DecideRequest) *v1.DecideResponse {
	switch {
	case r.GetMethod() != "tools/call" || isClosed(a.approved):
		return allow()
	case isClosed(a.refused):
		return deny(v1.ReasonCode_REASON_CODE_APPROVAL_REFUSED, "Refused by erin: not today.")
	}
	return &v1.DecideResponse{
		Effect: v1.Effect_EFFECT_APPROVE, ReasonCode: v1.ReasonCode_REASON_CODE_APPROVAL_REQUIRED, Reason: "Ask.",
		Approval: approvalFor(r),
	}
}

// approvalFor seals the number of the round.
func approvalFor(r *v1.DecideRequest) *v1.PendingApproval {
	p := &v1.PendingApproval{
		Id: "ap1", Url: "https://gate.example/approvals/ap1", Approvers: "one of group:finance",
		ExpiresAt: timestamppb.New(time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC)),
	}
	if r.GetApprovalRound() != nil {
		last, _ := strconv.Atoi(strings.TrimPrefix(string(r.GetApprovalRound().GetRequestState()), "round "))
		p.Round = int32(last + 1)
		p.RequestState = []byte("round " + strconv.Itoa(last+1))
	}
	return p
}

func (a *approvals) wait(ctx context.Context, _ string) (bool, error) {
	select {
	case <-a.approved:
		return false, nil
	case <-a.refused:
		return false, nil
	case <-ctx.Done():
		return false, ctx.Err()
	}
}

// rounds are the states of the questions, "-" for those that had no round.
func (a *approvals) rounds() (all []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, q := range a.asked {
		switch {
		case q.GetMethod() != "tools/call":
		case q.GetApprovalRound() == nil:
			all = append(all, "-")
		default:
			all = append(all, string(q.GetApprovalRound().GetRequestState()))
		}
	}
	return all
}

// question is what a client reads out of an input_required result.
type question struct {
	key, state string
}

func asked(t *testing.T, got answer) question {
	t.Helper()
	var m struct {
		Result struct {
			ResultType    string
			InputRequests map[string]struct {
				Method string
				Params struct{ Mode, Message, URL string }
			}
			RequestState string
		}
	}
	if err := json.Unmarshal([]byte(got.Body), &m); err != nil || got.Status != 200 || m.Result.ResultType != "input_required" || len(m.Result.InputRequests) != 1 {
		t.Fatalf("no question: %d %s", got.Status, got.Body)
	}
	for key, r := range m.Result.InputRequests {
		if r.Method != "elicitation/create" || r.Params.Mode != "url" || r.Params.URL != "https://gate.example/approvals/ap1" || !strings.Contains(r.Params.Message, "from one of group:finance until 2026-11-22T18:00:00Z") {
			t.Errorf("asked %+v", r)
		}
		return question{key, m.Result.RequestState}
	}
	return question{}
}

// answered is the same call again, as a client repeats it.
func (q question) answered(id, params, action string) (body string, header []string) {
	return asking(id, "tools/call", params+`,"inputResponses":{"`+q.key+`":{"action":"`+action+`"}},"requestState":"`+q.state+`"`)
}

// later posts and gives the answer when it comes.
func (g *gateway) later(t *testing.T, body string, header ...string) <-chan answer {
	done := make(chan answer, 1)
	go func() { done <- g.post(t, body, header...) }()
	return done
}

// held tells of each call that is held from now on.
func (a *approvals) held() <-chan struct{} {
	in := make(chan struct{}, 64)
	wait := a.await
	a.await = func(ctx context.Context, state string) (bool, error) {
		in <- struct{}{}
		return wait(ctx, state)
	}
	return in
}

func TestI8_AHeldCallGoesOnWhenItIsApproved(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	held := pdp.held()
	g := newGateway(t, up.URL, pdp.fakePDP)
	body, header := asking("1", "tools/call", echoCall)
	q := asked(t, g.post(t, body, header...))
	if q.key != "mcpermit-approval-1" || len(up.calls()) != 0 {
		t.Errorf("%+v, and the server has %q", q, up.calls())
	}
	retry, header := q.answered("2", echoCall, "accept")
	done := g.later(t, retry, header...)
	<-held
	if n := len(pdp.rounds()); n != 1 {
		t.Errorf("%d decisions while the call is held", n)
	}
	close(pdp.approved)
	if got := <-done; got.Status != 200 || got.Body != result("2", `{"content":[{"type":"text","text":"done"}]}`) {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	want, _ := asking("2", "tools/call", echoCall)
	if diff := cmp.Diff([]string{want}, up.calls()); diff != "" {
		t.Errorf("what the server got (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", "round 1"}, pdp.rounds()); diff != "" {
		t.Errorf("rounds (-want +got):\n%s", diff)
	}
	last := pdp.last()
	if string(last.GetArguments()) != `{"amount":5}` || last.GetFrameBytes() != int64(len(retry)) {
		t.Errorf("decided on %s, %d bytes", last.GetArguments(), last.GetFrameBytes())
	}
}

func TestAHeldCallIsRefusedWhenAPersonRefuses(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	held := pdp.held()
	g := newGateway(t, up.URL, pdp.fakePDP)
	body, header := asking("1", "tools/call", echoCall)
	retry, header := asked(t, g.post(t, body, header...)).answered("2", echoCall, "accept")
	done := g.later(t, retry, header...)
	<-held
	close(pdp.refused)
	if got := <-done; !strings.Contains(got.Body, `[POLICY DENIED] Refused by erin: not today.`) || !strings.Contains(got.Body, `"reasonCode":"approval_refused"`) {
		t.Errorf("%s", got.Body)
	}
	if calls := up.calls(); len(calls) != 0 {
		t.Errorf("the server got %q", calls)
	}
}

func TestACallThatStaysPendingIsAskedForAgain(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	g := newGateway(t, up.URL, pdp.fakePDP, func(o *Options) { o.ApprovalPatience = time.Millisecond })
	pdp.await = func(context.Context, string) (bool, error) { return true, nil }
	params := echoCall + `,"inputResponses":{"k":{"action":"accept"}},"requestState":"theirs"`
	body, header := asking("1", "tools/call", params)
	q := asked(t, g.post(t, body, header...))
	for round := 2; round <= 3; round++ {
		retry, header := q.answered(strconv.Itoa(round), echoCall, "accept")
		next := asked(t, g.post(t, retry, header...))
		if next.key != "mcpermit-approval-"+strconv.Itoa(round) || next.state == q.state {
			t.Errorf("round %d: %+v", round, next)
		}
		q = next
	}
	close(pdp.approved)
	retry, header := q.answered("9", echoCall, "accept")
	g.post(t, retry, header...)
	want, _ := asking("9", "tools/call", params)
	if diff := cmp.Diff([]string{want}, up.calls()); diff != "" {
		t.Errorf("what the server got (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", "round 1", "round 2", "round 3"}, pdp.rounds()); diff != "" {
		t.Errorf("rounds (-want +got):\n%s", diff)
	}
}

const inWords = `[APPROVAL NEEDED] Ask.\nApproval ap1 is needed from one of group:finance at https://gate.example/approvals/ap1 until 2026-11-22T18:00:00Z, then repeat the same call.`

func TestWhoDeclinesIsToldInWordsAtOnce(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	pdp.await = func(context.Context, string) (bool, error) {
		t.Error("a call that was declined is held")
		return true, nil
	}
	g := newGateway(t, up.URL, pdp.fakePDP)
	body, header := asking("1", "tools/call", echoCall)
	q := asked(t, g.post(t, body, header...))
	for _, action := range []string{"decline", "cancel", "what"} {
		retry, header := q.answered("2", echoCall, action)
		if got := g.post(t, retry, header...); !strings.Contains(got.Body, inWords) {
			t.Errorf("%s: %s", action, got.Body)
		}
	}
	if diff := cmp.Diff([]string{"", "-", "-", "-"}, pdp.rounds()); diff != "" {
		t.Errorf("rounds (-want +got):\n%s", diff)
	}
}

func TestWhoCannotBeAskedIsToldInWords(t *testing.T) {
	unlinked := func(change func(*v1.PendingApproval)) func(*v1.DecideRequest) *v1.DecideResponse {
		return func(r *v1.DecideRequest) *v1.DecideResponse {
			p := approvalFor(r)
			change(p)
			return &v1.DecideResponse{Effect: v1.Effect_EFFECT_APPROVE, Reason: "Ask.", Approval: p}
		}
	}
	for _, c := range []struct {
		name      string
		rule      func(*v1.DecideRequest) *v1.DecideResponse
		transport v1.Transport
		legacy    bool
		incapable bool
		round     string
		want      string
	}{
		{name: "2025-11-25", legacy: true, round: "-", want: inWords},
		{name: "no links", incapable: true, round: "-", want: inWords},
		{name: "behind an Envoy", transport: v1.Transport_TRANSPORT_ENVOY, round: "-", want: inWords},
		{name: "rounds are used up", rule: unlinked(func(p *v1.PendingApproval) { p.RequestState = nil }), want: inWords},
		{name: "no console", rule: unlinked(func(p *v1.PendingApproval) { p.Url = "" }), want: `Approval ap1 is needed from one of group:finance until 2026-11-22T18:00:00Z, then repeat the same call.`},
	} {
		t.Run(c.name, func(t *testing.T) {
			up, pdp := newServer(t, tools), newApprovals()
			if c.rule != nil {
				pdp.rule = c.rule
			}
			g := newGateway(t, up.URL, pdp.fakePDP, func(o *Options) { o.Transport = c.transport })
			body, header := asking("1", "tools/call", echoCall)
			if c.legacy {
				body, header = call("1", "echo", `{"amount":5}`), nil
			} else if c.incapable {
				body, header = modern("1", "tools/call", echoCall)
			}
			if got := g.post(t, body, header...); got.Status != 200 || !strings.Contains(got.Body, c.want) || !strings.Contains(got.Body, `"isError":true`) {
				t.Errorf("%d %s", got.Status, got.Body)
			}
			if diff := cmp.Diff([]string{c.round}, pdp.rounds()); diff != "" {
				t.Errorf("rounds (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPromptsAndResourcesAreAskedForToo(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	pdp.rule = func(r *v1.DecideRequest) *v1.DecideResponse {
		if r.GetMethod() != "prompts/get" && r.GetMethod() != "resources/read" {
			return allow()
		}
		return &v1.DecideResponse{Effect: v1.Effect_EFFECT_APPROVE, Reason: "Ask.", Approval: approvalFor(r)}
	}
	g := newGateway(t, up.URL, pdp.fakePDP)
	body, header := asking("1", "prompts/get", `"name":"brief"`)
	asked(t, g.post(t, body, header...))
	body, header = asking("1", "resources/read", `"uri":"file:///a"`)
	asked(t, g.post(t, body, append(header, "Mcp-Name", "file:///a")...))
}

func TestI8_AStateThatIsNotOursIsRefusedAndOnRecord(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	close(pdp.approved) // whatever is decided passes
	pdp.await = func(context.Context, string) (bool, error) {
		t.Error("a call without a whole state is held")
		return true, nil
	}
	g := newGateway(t, up.URL, pdp.fakePDP)
	for _, rest := range []string{
		`"inputResponses":{"mcpermit-approval-1":{"action":"accept"}}`,
		`"inputResponses":{"mcpermit-approval-1":{"action":"accept"}},"requestState":"theirs"`,
		`"inputResponses":{"mcpermit-approval-1":{"action":"accept"}},"requestState":"mcpermit-approval.1.AAAA"`,
		`"inputResponses":{"mcpermit-approval-1":{"action":"accept"}},"requestState":"mcpermit-approval.9.AAAA.."`,
		`"requestState":"mcpermit-approval.1.AAAA.."`,
	} {
		pdp.forget()
		body, header := asking("1", "tools/call", echoCall+","+rest)
		got := g.post(t, body, header...)
		if got.Status != 400 || !strings.Contains(got.Body, `"code":-32602`) || !strings.Contains(got.Body, `"rule":"approval-state"`) {
			t.Errorf("%s: %d %s", rest, got.Status, got.Body)
		}
		if diff := cmp.Diff([]string{"tools/call echo !approval-state"}, pdp.questions()); diff != "" {
			t.Errorf("%s: decisions (-want +got):\n%s", rest, diff)
		}
	}
	if calls := up.calls(); len(calls) != 0 {
		t.Errorf("the server got %q", calls)
	}
}

// A state that was tampered with inside is the PDP's to refuse: it alone can tell.
func TestI8_ASealedStateGoesToThePDPAsItIs(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	pdp.await = nil
	pdp.rule = func(r *v1.DecideRequest) *v1.DecideResponse {
		if string(r.GetApprovalRound().GetRequestState()) == "\x00\x00\x00" {
			return deny(v1.ReasonCode_REASON_CODE_APPROVAL_STATE, "The state is not one of this gateway's.")
		}
		return allow()
	}
	g := newGateway(t, up.URL, pdp.fakePDP)
	body, header := question{"mcpermit-approval-1", "mcpermit-approval.1.AAAA.."}.answered("1", echoCall, "accept")
	if got := g.post(t, body, header...); got.Status != 200 || !strings.Contains(got.Body, `"reasonCode":"approval_state"`) {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if calls := up.calls(); len(calls) != 0 {
		t.Errorf("the server got %q", calls)
	}
}

func TestNobodyUnknownIsHeld(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	pdp.await = func(context.Context, string) (bool, error) {
		t.Error("a call without a credential is held")
		return true, nil
	}
	g := newGateway(t, up.URL, pdp.fakePDP)
	body, header := question{"mcpermit-approval-1", "mcpermit-approval.1.AAAA.."}.answered("1", echoCall, "accept")
	if got := g.post(t, body, append(header, "Authorization", "-")...); got.Status != 401 {
		t.Errorf("%d %s", got.Status, got.Body)
	}
}

func TestR12_DrainingLetsHeldCallsGo(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	held := pdp.held()
	g := newGateway(t, up.URL, pdp.fakePDP, func(o *Options) { o.ApprovalPatience = time.Hour })
	body, header := asking("1", "tools/call", echoCall)
	retry, header := asked(t, g.post(t, body, header...)).answered("2", echoCall, "accept")
	done := g.later(t, retry, header...)
	<-held
	if err := g.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if q := asked(t, <-done); q.key != "mcpermit-approval-2" {
		t.Errorf("%+v", q)
	}
}

func TestI8_ACallWhoseClientHungUpUsesNoApproval(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	held := pdp.held()
	g := newGateway(t, up.URL, pdp.fakePDP, func(o *Options) { o.ApprovalPatience = time.Hour })
	body, header := asking("1", "tools/call", echoCall)
	retry, header := asked(t, g.post(t, body, header...)).answered("2", echoCall, "accept")
	ctx, hangUp := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		res, err := g.client.Do(g.request(http.MethodPost, retry, header...).WithContext(ctx))
		if err == nil {
			res.Body.Close()
		}
		failed <- err
	}()
	<-held
	hangUp()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	eventually(t, "a record of the call", func() bool { return len(pdp.rounds()) == 2 })
	if diff := cmp.Diff([]string{"tools/call echo", "tools/call echo !client-gone"}, calls(pdp.questions())); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
	if calls := up.calls(); len(calls) != 0 {
		t.Errorf("the server got %q", calls)
	}
}

// calls leaves out the gateway's own questions.
func calls(questions []string) (all []string) {
	for _, q := range questions {
		if strings.HasPrefix(q, "tools/call") {
			all = append(all, q)
		}
	}
	return all
}

func TestR8_ACallBeyondThoseThatWaitIsNotHeld(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	held := pdp.held()
	few := pep.NewEnforcer(pdp.fakePDP, pep.EnforcerOptions{Deadline: 5 * time.Second, Waiting: 1})
	t.Cleanup(func() { _ = few.Close(context.Background()) })
	g := newGateway(t, up.URL, pdp.fakePDP, func(o *Options) { o.ApprovalPatience, o.Enforcer = time.Hour, few })
	body, header := asking("1", "tools/call", echoCall)
	q := asked(t, g.post(t, body, header...))
	retry, header := q.answered("2", echoCall, "accept")
	done := g.later(t, retry, header...)
	<-held
	again, header := q.answered("3", echoCall, "accept")
	if next := asked(t, g.post(t, again, header...)); next.key != "mcpermit-approval-2" {
		t.Errorf("%+v", next)
	}
	close(pdp.approved)
	if got := <-done; !strings.Contains(got.Body, "done") {
		t.Errorf("%s", got.Body)
	}
}

// The server asks in the middle of an approved call: what comes back is a frame
// of its own, and no approval covers it.
func TestI8_AServersOwnRoundIsAnotherCall(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") == "tools/call" && !strings.Contains(body, `"theirs"`) {
			replyJSON(w, result(idOf(body), `{"resultType":"input_required","inputRequests":{"k":{"method":"roots/list"}},"requestState":"theirs"}`))
			return
		}
		tools(w, r, body)
	})
	pdp := newApprovals()
	decide := pdp.rule
	used := map[string]bool{}
	pdp.rule = func(r *v1.DecideRequest) *v1.DecideResponse {
		state := string(r.GetApprovalRound().GetRequestState())
		if r.GetMethod() == "tools/call" && state != "" && !used[state] {
			used[state] = true
			return allow()
		}
		return decide(r)
	}
	pdp.await = func(context.Context, string) (bool, error) { return false, nil }
	g := newGateway(t, up.URL, pdp.fakePDP)
	body, header := asking("1", "tools/call", echoCall)
	retry, header := asked(t, g.post(t, body, header...)).answered("2", echoCall, "accept")
	if got := g.post(t, retry, header...); !strings.Contains(got.Body, `"inputRequests":{"k":{"method":"roots/list"}},"requestState":"theirs"`) {
		t.Fatalf("the server's question: %s", got.Body)
	}
	theirs := echoCall + `,"inputResponses":{"k":{"roots":[]}},"requestState":"theirs"`
	body, header = asking("3", "tools/call", theirs)
	q := asked(t, g.post(t, body, header...))
	used["round 1"] = false // a second person's approval
	retry, header = q.answered("4", echoCall, "accept")
	if got := g.post(t, retry, header...); !strings.Contains(got.Body, "done") {
		t.Errorf("the end: %s", got.Body)
	}
	first, _ := asking("2", "tools/call", echoCall)
	second, _ := asking("4", "tools/call", theirs)
	if diff := cmp.Diff([]string{first, second}, up.calls()); diff != "" {
		t.Errorf("what the server got (-want +got):\n%s", diff)
	}
}

// Two gateways in a row both ask.
func TestAGatewayBehindTheGatewayAsksToo(t *testing.T) {
	up, inner, outer := newServer(t, tools), newApprovals(), newApprovals()
	close(outer.approved)
	inner.await = func(context.Context, string) (bool, error) { return false, nil }
	outer.await = func(context.Context, string) (bool, error) {
		t.Error("the inner gateway's state is taken for the outer one's")
		return true, nil
	}
	behind := newGateway(t, up.URL, inner.fakePDP)
	ahead := newGateway(t, strings.TrimSuffix(behind.URL, "/mcp/s/"), outer.fakePDP, func(o *Options) {
		o.Servers[0].URL.Path = "/mcp/s/"
		outer.rule = func(r *v1.DecideRequest) *v1.DecideResponse {
			if r.GetContext().GetDirection() == v1.Direction_DIRECTION_TO_CLIENT {
				return allow()
			}
			return allow(setHeader("Authorization", "Bearer bob"))
		}
	})
	body, header := asking("1", "tools/call", echoCall)
	q := asked(t, ahead.post(t, body, header...))
	close(inner.approved)
	retry, header := q.answered("2", echoCall, "accept")
	if got := ahead.post(t, retry, header...); !strings.Contains(got.Body, "done") {
		t.Errorf("%s", got.Body)
	}
	if diff := cmp.Diff([]string{"", "round 1"}, inner.rounds()); diff != "" {
		t.Errorf("rounds of the inner gateway (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"", ""}, outer.rounds()); diff != "" {
		t.Errorf("rounds of the outer gateway (-want +got):\n%s", diff)
	}
}

// Behind an Envoy no body can be changed, so nothing is taken for the gateway's.
func TestBehindAnEnvoyARetryIsTheServers(t *testing.T) {
	up, pdp := newServer(t, tools), newApprovals()
	close(pdp.approved)
	g := newGateway(t, up.URL, pdp.fakePDP, func(o *Options) { o.Transport = v1.Transport_TRANSPORT_ENVOY })
	body, header := question{"mcpermit-approval-1", "mcpermit-approval.1.AAAA.."}.answered("1", echoCall, "accept")
	g.post(t, body, header...)
	if diff := cmp.Diff([]string{body}, up.calls()); diff != "" {
		t.Errorf("what the server got (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"-"}, pdp.rounds()); diff != "" {
		t.Errorf("rounds (-want +got):\n%s", diff)
	}
}

func TestAReachedQuotaIsShown(t *testing.T) {
	up := newServer(t, tools)
	pdp := &fakePDP{rule: func(r *v1.DecideRequest) *v1.DecideResponse {
		if r.GetMethod() == "tools/list" {
			return allow()
		}
		d := deny(v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED, "No room.")
		d.Quotas = []*v1.QuotaUse{
			{Name: "total", Limit: "10", Used: "9.5", Remaining: "0.5", Cost: "5", Window: "24h sliding", Exceeded: true, ResetAt: timestamppb.New(time.Date(2026, 11, 22, 18, 0, 0, 0, time.UTC))},
			{Name: "calls", Limit: "10", Used: "1", Remaining: "9", Cost: "1", Window: "day in UTC"},
		}
		return d
	}}
	g := newGateway(t, up.URL, pdp)
	const want = `"_meta":{"io.github.mcpermit/decision":{"id":"d#","reasonCode":"quota_exceeded","quotas":[` +
		`{"name":"total","limit":"10","used":"9.5","remaining":"0.5","cost":"5","resetAt":"2026-11-22T18:00:00Z","window":"24h sliding","exceeded":true},` +
		`{"name":"calls","limit":"10","used":"1","remaining":"9","cost":"1","window":"day in UTC","exceeded":false}]}}}}`
	got := g.post(t, call("1", "echo", `{}`))
	if id := member([]byte(got.Body[strings.Index(got.Body, `{"id":"d`):]), "id"); !strings.HasSuffix(strings.Replace(got.Body, id, "d#", 1), want) || !strings.Contains(got.Body, `[POLICY DENIED] No room.`) || got.Header.Get("Retry-After") != "" {
		t.Errorf("%s", got.Body)
	}
}
