package proxy

import (
	"context"
	"crypto/sha256"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// act is one thing that a client does on the transport, from its arrival to
// its end: the POST of a frame, the GET that opens a stream, the DELETE that
// ends a session, or an attempt at something else. Each is put to the PDP
// exactly once (I5).
type act struct {
	p        *Proxy
	w        http.ResponseWriter
	r        *http.Request
	ctx      context.Context //nolint:containedctx // of r, with the span; an act is one request
	span     trace.Span
	received time.Time

	oauth    *oauth    // where access tokens are shown; nil for grant tokens
	server   string    // as the path names it; empty when it names none
	up       *upstream // nil when there is no such server
	evidence *v1.Evidence
	key      evidenceKey
	version  string // MCP-Protocol-Version as sent

	kind    v1.FrameKind
	method  string // of the frame, or of the act
	frame   *mcp.Frame
	body    []byte // of the POST
	dialog  *dialog
	session string             // legacy session that goes to the upstream
	retry   *mcp.ApprovalRetry // of a call that comes back from a question of the gateway's; else nil
	asks    bool               // the PDP was told that the call can be answered with a question

	ticket   *ticket
	decision *v1.DecideResponse
	duties   []*v1.Obligation // of the decision, or of its renewed credential
	expelled bool             // a later decision says that the client's credential is no good any more
	out      v1.Outcome
}

func (p *Proxy) arrive(w http.ResponseWriter, r *http.Request, o *oauth) *act {
	a := &act{p: p, w: w, r: r, oauth: o, received: time.Now()}
	a.ctx, a.span = p.meter.start(r)
	if name, ok := serverName(a.prefix(), r.RequestURI); ok {
		a.server, a.up = name, p.upstreams[name]
	}
	a.evidence = evidence(r, o.resource(a.server))
	a.key = keyOf(a.evidence)
	if v := r.Header[headerVersion]; len(v) == 1 && isVisible(v[0], 64) {
		a.version = v[0]
	}
	switch r.Method {
	case http.MethodGet:
		a.kind, a.method = v1.FrameKind_FRAME_KIND_STREAM, "stream/open"
	case http.MethodDelete:
		a.kind, a.method = v1.FrameKind_FRAME_KIND_SESSION_END, "session/end"
	}
	return a
}

// prefix stands before the names of servers in paths.
func (a *act) prefix() string {
	if a.oauth != nil {
		return a.oauth.path + mcpPrefix
	}
	return mcpPrefix
}

// end tells what became of the act.
func (a *act) end() {
	if a.decision.GetEffect() == v1.Effect_EFFECT_ALLOW {
		if a.out.Duration == nil { // not reported by somebody else
			a.out.Duration = durationpb.New(time.Since(a.received))
		}
		a.p.o.Enforcer.Complete(a.decision.GetDecisionId(), &a.out)
	}
	a.p.dialogs.release(a.dialog)
	a.span.End()
}

// about is what every question to the PDP on account of this act has in common.
func (a *act) about(direction v1.Direction) *v1.DecideRequest {
	client := a.client()
	protocol := client.protocol
	if protocol == "" {
		protocol = a.version
	}
	return &v1.DecideRequest{
		Evidence: a.evidence,
		Client:   &v1.Client{Name: client.name, Version: client.version},
		Server:   a.server,
		Context: &v1.FrameContext{
			Transport: a.p.o.Transport, ProtocolVersion: protocol, Session: a.session, Pep: a.p.o.PEP,
			Direction: direction, ReceivedAt: timestamppb.New(a.received),
		},
	}
}

// client is what the client says about itself, in this frame or in the
// handshake of its session.
func (a *act) client() clientInfo {
	if f := a.frame; f != nil && (f.Meta.Modern || f.Method == "initialize") {
		return clientInfo{name: f.Meta.ClientName, version: f.Meta.ClientVersion, protocol: f.Meta.ProtocolVersion}
	}
	return a.dialog.introduced()
}

// request is the question about the act itself.
func (a *act) request() *v1.DecideRequest {
	q := a.about(v1.Direction_DIRECTION_TO_SERVER)
	q.Kind, q.Method = a.kind, a.method
	if f := a.frame; f != nil {
		describe(q, f)
		// What the call says is what the server will be told.
		if a.retry != nil {
			f = a.retry.Frame
		}
		q.Arguments, q.InputResponses = content(f), f.InputResponses
	} else {
		q.FrameBytes = int64(len(a.body))
		digest := sha256.Sum256(a.body)
		q.FrameDigest = digest[:]
	}
	return q
}

// describe puts the frame into the question.
func describe(q *v1.DecideRequest, f *mcp.Frame) {
	digest := sha256.Sum256(f.Bytes)
	q.Id, q.FrameBytes, q.FrameDigest = string(f.ID), int64(len(f.Bytes)), digest[:]
	q.Arguments = content(f)
}

// content is what a frame says beside its method and name.
func content(f *mcp.Frame) []byte {
	switch {
	case f.Kind == mcp.KindResponse && f.Result != nil:
		return f.Result
	case f.Kind == mcp.KindResponse:
		return f.Error
	case takesArguments(f.Method):
		return f.Arguments
	}
	return f.Params
}

func takesArguments(method string) bool { return method == "tools/call" || method == "prompts/get" }

var frameKinds = map[mcp.Kind]v1.FrameKind{
	mcp.KindRequest:      v1.FrameKind_FRAME_KIND_REQUEST,
	mcp.KindNotification: v1.FrameKind_FRAME_KIND_NOTIFICATION,
	mcp.KindResponse:     v1.FrameKind_FRAME_KIND_RESPONSE,
}

// decide asks the PDP, once.
func (a *act) decide(q *v1.DecideRequest) *v1.DecideResponse {
	a.decision = a.p.o.Enforcer.Decide(a.ctx, q, a.up.means())
	a.duties = a.decision.GetObligations()
	observe(a.w, q, a.decision)
	if a.decision.GetSubject().GetId() != "" && !isExpulsion(a.decision) {
		a.p.identities.learn(a.key, a.owner())
	}
	a.p.meter.frame(a.ctx, a.server, a.method, "to_server", a.decision)
	return a.decision
}

// owner is who the decision says that the client is.
func (a *act) owner() owner {
	s := a.decision.GetSubject()
	return owner{subject: s.GetId(), issuer: s.GetIssuer(), grant: a.decision.GetGrantId(), resource: a.evidence.GetResource()}
}

// keepDialog makes sure that something can be remembered for the client's next
// frames. The act has been allowed.
func (a *act) keepDialog() *dialog {
	if a.dialog == nil {
		d := &dialog{
			key:      dialogKey{server: a.server, evidence: a.key},
			evidence: a.key, owner: a.owner(), shelf: new(shelf),
		}
		a.dialog, _ = a.p.dialogs.open(d)
	}
	return a.dialog
}
