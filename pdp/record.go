package pdp

import (
	"context"
	"encoding/hex"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.opentelemetry.io/otel/trace"

	"github.com/mcpermit/mcpermit/pdp/audit"
)

// auditRecord is what the trail keeps of the decision.
func (e *Engine) auditRecord(ctx context.Context, d *decision) *audit.Record {
	req, res, c := d.req, d.res, d.req.GetContext()
	r := &audit.Record{
		Time:       d.start,
		DecisionID: res.GetDecisionId(),
		Frame: audit.Frame{
			Method: req.GetMethod(), Name: req.GetTarget().GetName(), ID: jsontext.Value(req.GetId()),
			Bytes: req.GetFrameBytes(), Digest: digest(req.GetFrameDigest()),
			Kind: lower(req.GetKind().String(), "FRAME_KIND_"), Direction: directions[c.GetDirection()],
		},
		Grant:      res.GetGrantId(),
		Server:     req.GetServer(),
		Effect:     lower(res.GetEffect().String(), "EFFECT_"),
		ReasonCode: lower(res.GetReasonCode().String(), "REASON_CODE_"),
		Reason:     res.GetReason(),
		TraceID:    traceID(ctx),
		Context: audit.Context{
			Transport: transports[c.GetTransport()], ProtocolVersion: c.GetProtocolVersion(),
			Session: audit.HashSession(c.GetSession()), Peer: req.GetEvidence().GetPeer(), PEP: c.GetPep(),
		},
	}
	if s := d.subject; s != nil {
		r.Subject = &audit.Subject{ID: s.ID, Type: s.Type, Groups: s.Groups}
	}
	if cl := req.GetClient(); cl.GetName() != "" {
		r.Client = &audit.Client{Name: cl.GetName(), Version: cl.GetVersion()}
	}
	if p := res.GetPolicy(); p != nil {
		r.Policy = &audit.Policy{Revision: p.GetRevision(), Digest: p.GetDigest()}
	}
	if f := req.GetFault(); f != nil {
		r.Fault = &audit.Fault{Rule: f.GetRule(), Reason: f.GetReason()}
	}
	if a := res.GetApproval(); a != nil {
		r.Approval = &audit.Approval{ID: a.GetId(), State: "pending"}
	}
	if t := d.tool; t != nil {
		r.Tool = &audit.Tool{Class: t.Class, Risk: t.Risk, Pinned: t.Pinned}
		if t.Digest != [32]byte{} { // zero: no definition was seen
			r.Tool.Digest = digest(t.Digest[:])
		}
	}
	for _, m := range res.GetRules() {
		r.Rules = append(r.Rules, audit.Rule{Path: m.GetPath(), ID: m.GetId(), File: m.GetFile(), Line: int(m.GetLine()), Title: m.GetTitle()})
	}
	if d.maskKnown {
		r.Arguments, r.Mask = jsontext.Value(req.GetArguments()), d.result.Mask
		r.Input = e.replayInput(d)
	}
	return r
}

// replayInput is what the policy saw beside the record's own members, so that
// the decision can be made again from its record (I12).
func (e *Engine) replayInput(d *decision) jsontext.Value {
	type grant struct {
		Labels    map[string]string `json:"labels,omitempty"`
		Servers   []string          `json:"servers"`
		Tools     []string          `json:"tools,omitempty"`
		ExpiresAt time.Time         `json:"expires_at,omitzero"`
	}
	type tool struct {
		Traits      []string       `json:"traits,omitempty"`
		Annotations jsontext.Value `json:"annotations,omitzero"`
	}
	in := struct {
		Grant  grant  `json:"grant"`
		Server Server `json:"server,omitzero"`
		Tool   *tool  `json:"tool,omitzero"`
	}{
		Grant:  grant{d.grant.Labels, d.grant.Servers, d.grant.Tools, d.grant.ExpiresAt},
		Server: e.Servers[d.req.GetServer()],
	}
	if d.tool != nil {
		in.Tool = &tool{d.tool.Traits, d.tool.Annotations}
	}
	b, err := json.Marshal(in, json.Deterministic(true))
	if err != nil {
		return nil // annotations that are not JSON; they never reached the policy either
	}
	return b
}

func digest(sum []byte) string {
	if len(sum) == 0 {
		return ""
	}
	return "sha256:" + hex.EncodeToString(sum)
}

// lower turns an enum's name into the word that the record uses.
func lower(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

func traceID(ctx context.Context) string {
	if id := trace.SpanContextFromContext(ctx).TraceID(); id.IsValid() {
		return id.String()
	}
	return ""
}
