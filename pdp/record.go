package pdp

import (
	"context"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"go.opentelemetry.io/otel/trace"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/identity"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
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
			Kind: kinds.of(int32(req.GetKind())), Direction: directions[c.GetDirection()],
		},
		Grant:      res.GetGrantId(),
		Server:     req.GetServer(),
		Effect:     effects.of(int32(res.GetEffect())),
		ReasonCode: reasonCodes.of(int32(res.GetReasonCode())),
		Reason:     res.GetReason(),
		TraceID:    traceID(ctx),
		Context: audit.Context{
			Transport: transports[c.GetTransport()], ProtocolVersion: c.GetProtocolVersion(),
			Session: audit.HashSession(c.GetSession()), Peer: req.GetEvidence().GetPeer(), PEP: c.GetPep(),
		},
	}
	if s := d.subject; s != nil {
		r.Subject = &audit.Subject{ID: s.ID, Type: s.Type, Groups: s.Groups, Issuer: s.Issuer, Actor: s.Actor}
	}
	if d.who != nil {
		r.Chain = d.who.Chain()
	}
	if cl := req.GetClient(); cl.GetName() != "" || cl.GetVersion() != "" {
		r.Client = &audit.Client{Name: cl.GetName(), Version: cl.GetVersion()}
	}
	if p := res.GetPolicy(); p != nil {
		r.Policy = &audit.Policy{Revision: p.GetRevision(), Digest: p.GetDigest()}
	}
	if f := req.GetFault(); f != nil {
		r.Fault = &audit.Fault{Rule: f.GetRule(), Reason: f.GetReason()}
	}
	if a := d.approval; a != nil {
		r.Approval = &audit.Approval{ID: a.ID, State: a.State.String()}
	}
	r.Quota = auditQuotas(d.quotas)
	if t := d.tool; t != nil {
		r.Tool = &audit.Tool{Class: t.Class, Risk: t.Risk, Pinned: t.Pinned}
		if t.Digest != [32]byte{} { // zero: no definition was seen
			r.Tool.Digest = digest(t.Digest[:])
		}
	}
	if n := len(res.GetRules()); n > 0 {
		r.Rules = make([]audit.Rule, 0, n)
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
// the decision can be made again from its record (I12). It is nil when the tool's
// annotations, or the subject's claims, are not JSON: they never reached the policy
// either.
func (e *Engine) replayInput(d *decision) jsontext.Value {
	in := replay{b: make([]byte, 0, 512)}
	in.b = append(in.b, '{')
	in.subject(&d.who.Subject)
	in.grant(d.who)
	if s := e.Servers[d.req.GetServer()]; s.Labels != nil || s.Trusted {
		in.server(s)
	}
	if d.tool != nil {
		in.tool(d.tool)
	}
	in.b = append(in.b, '}')
	if in.err != nil {
		return nil
	}
	return in.b
}

// replay writes a replay input: its members in a fixed order, labels sorted, so
// that the same input is always the same bytes.
type replay struct {
	b   []byte
	err error
}

// groupsOnRecord is how many groups of a subject the record has itself.
const groupsOnRecord = 64

func (r *replay) subject(s *identity.Subject) {
	groups := len(s.Groups) > groupsOnRecord
	if !groups && len(s.Scopes) == 0 && s.Claims == nil {
		return
	}
	r.b = append(r.b, `"subject":{`...)
	if groups {
		r.texts("groups", s.Groups)
	}
	if len(s.Scopes) > 0 {
		r.next()
		r.texts("scopes", s.Scopes)
	}
	if s.Claims != nil {
		r.next()
		r.raw(`"claims":`, s.Claims)
	}
	r.b = append(r.b, '}')
}

func (r *replay) grant(who *identity.Identity) {
	g := who.Grant
	r.next()
	if g == nil {
		r.b = append(r.b, `"grant":null`...)
		return
	}
	r.b = append(r.b, `"grant":{`...)
	if len(g.Labels) > 0 {
		r.labels(g.Labels)
		r.b = append(r.b, ',')
	}
	r.texts("servers", g.Servers)
	for _, list := range []struct {
		name string
		list []string
	}{{"tools", g.Tools}, {"classes", g.Classes}, {"policies", who.Policies()}} {
		if len(list.list) > 0 {
			r.next()
			r.texts(list.name, list.list)
		}
	}
	if g.Parent != "" {
		r.next()
		r.b = append(r.b, `"parent":`...)
		r.quote(g.Parent)
	}
	if !g.ExpiresAt.IsZero() {
		b, err := g.ExpiresAt.AppendText(append(r.b, `,"expires_at":"`...))
		r.b = append(b, '"')
		r.check(err)
	}
	r.b = append(r.b, '}')
}

// next stands between two members, and not before the first.
func (r *replay) next() {
	if r.b[len(r.b)-1] != '{' {
		r.b = append(r.b, ',')
	}
}

// raw writes a member that is JSON already.
func (r *replay) raw(name string, v jsontext.Value) {
	b, err := jsontext.AppendFormat(append(r.b, name...), v)
	r.b = b
	r.check(err)
}

func (r *replay) server(s Server) {
	r.b = append(r.b, `,"server":{`...)
	if len(s.Labels) > 0 {
		r.labels(s.Labels)
	}
	if len(s.Labels) > 0 {
		r.b = append(r.b, ',')
	}
	r.b = append(r.b, `"trusted":`...)
	r.b = append(strconv.AppendBool(r.b, s.Trusted), '}')
}

func (r *replay) tool(t *catalog.Tool) {
	r.b = append(r.b, `,"tool":{`...)
	if len(t.Traits) > 0 {
		r.texts("traits", t.Traits)
	}
	if t.Annotations != nil {
		r.next()
		r.raw(`"annotations":`, t.Annotations)
	}
	r.b = append(r.b, '}')
}

func (r *replay) labels(labels map[string]string) {
	r.b = append(r.b, `"labels":{`...)
	names := slices.AppendSeq(make([]string, 0, len(labels)), maps.Keys(labels))
	slices.Sort(names)
	for i, name := range names {
		if i > 0 {
			r.b = append(r.b, ',')
		}
		r.quote(name)
		r.b = append(r.b, ':')
		r.quote(labels[name])
	}
	r.b = append(r.b, '}')
}

func (r *replay) texts(name string, list []string) {
	r.quote(name)
	r.b = append(r.b, ':', '[')
	for i, s := range list {
		if i > 0 {
			r.b = append(r.b, ',')
		}
		r.quote(s)
	}
	r.b = append(r.b, ']')
}

func (r *replay) quote(s string) {
	b, err := jsontext.AppendQuote(r.b, s)
	r.b = b
	r.check(err)
}

func (r *replay) check(err error) {
	if r.err == nil {
		r.err = err
	}
}

func digest(sum []byte) string {
	if len(sum) == 0 {
		return ""
	}
	return string(hex.AppendEncode([]byte("sha256:"), sum))
}

// words are the names of an enum as the record writes them.
type words map[int32]string

func newWords(names map[int32]string, prefix string) words {
	w := make(words, len(names))
	for n, name := range names {
		w[n] = lower(name, prefix)
	}
	return w
}

// lower turns an enum's name into the word that the record uses.
func lower(name, prefix string) string {
	return strings.ToLower(strings.TrimPrefix(name, prefix))
}

// of returns the word for a value; for one that is not known, its number.
func (w words) of(n int32) string {
	if word, ok := w[n]; ok {
		return word
	}
	return strconv.FormatInt(int64(n), 10)
}

var (
	kinds       = newWords(v1.FrameKind_name, "FRAME_KIND_")
	effects     = newWords(v1.Effect_name, "EFFECT_")
	reasonCodes = newWords(v1.ReasonCode_name, "REASON_CODE_")
)

func traceID(ctx context.Context) string {
	if id := trace.SpanContextFromContext(ctx).TraceID(); id.IsValid() {
		return id.String()
	}
	return ""
}
