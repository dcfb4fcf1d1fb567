package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// How long the texts of a record may be, in bytes; longer ones are clipped. So the
// longest entry stays far below maxLine.
const (
	shortText = 256
	longText  = 4 << 10
	most      = 64 // elements of a list
)

// prepare makes the entry of a record: a masked and bounded copy, encoded.
func (l *Log) prepare(r *Record) (*pending, error) {
	c := *r
	c.Seq, c.Type, c.Prev, c.Hash, c.Outcome = 0, typeRecord, "", "", nil
	c.Masked, c.Truncated = nil, nil
	if c.Time.IsZero() {
		c.Time = time.Now()
	}
	c.Time = c.Time.UTC()
	c.DecisionID = clip(c.DecisionID, shortText)
	secrets := l.prepareArguments(&c)
	prepareFrame(&c.Frame)
	prepareTexts(&c, secrets)
	body, err := c.encode(true)
	if err != nil {
		return nil, err
	}
	return &pending{body: body, record: true, at: c.Time, id: c.DecisionID}, nil
}

// prepareArguments masks and bounds the arguments and returns what was masked.
func (l *Log) prepareArguments(c *Record) (secrets []string) {
	switch {
	case len(c.Input) == 0:
		c.Input = nil
	case l.inputs.has(c.Input):
	default:
		m := masker{names: l.names}
		if out, err := m.mask(c.Input); err != nil || len(out) > 1<<20 {
			c.Input = truncatedValue(c.Input)
		} else if c.Input, secrets = out, m.plain; len(m.cuts) == 0 {
			l.inputs.add(c.Input)
		}
	}
	raw := c.Arguments
	c.Arguments = nil
	if len(raw) == 0 {
		return secrets
	}
	if len(raw) <= l.opt.ArgumentBytes {
		m := masker{names: l.names, pointers: splitPointers(c.Mask)}
		if out, err := m.mask(raw); err == nil {
			c.Arguments, c.Masked = out, head(m.found, most)
			return append(secrets, m.plain...)
		}
	}
	c.Truncated = truncated(raw)
	return secrets
}

func truncated(raw []byte) *Truncated {
	sum := sha256.Sum256(raw)
	return &Truncated{Truncated: true, Bytes: int64(len(raw)), Digest: "sha256:" + hex.EncodeToString(sum[:])}
}

func truncatedValue(raw []byte) jsontext.Value {
	b, err := json.Marshal(truncated(raw))
	if err != nil {
		return nil
	}
	return b
}

func prepareFrame(f *Frame) {
	f.Method = clip(maskText(f.Method, identifier), shortText)
	f.Name = clip(maskText(f.Name, prose), longText)
	f.Digest = clip(f.Digest, shortText)
	if len(f.ID) == 0 {
		f.ID = nil
		return
	}
	id := bytes.TrimSpace(f.ID)
	if counted(id) {
		f.ID = id
		return
	}
	if len(id) <= 2*shortText && jsontext.Value(id).IsValid() && jsontext.Value(id).Kind() != '{' && jsontext.Value(id).Kind() != '[' {
		f.ID = Mask(id, nil)
		return
	}
	// No JSON-RPC id: kept as text, for who looks into a refused frame.
	quoted, err := jsontext.AppendQuote(nil, clip(maskText(string(id), prose), shortText))
	if err != nil {
		quoted = nil
	}
	f.ID = quoted
}

// counted reports whether id is a plain number, as most are.
func counted(id []byte) bool {
	if len(id) == 0 || len(id) > 18 || id[0] == '0' && len(id) > 1 {
		return false
	}
	for _, b := range id {
		if b < '0' || b > '9' {
			return false
		}
	}
	return true
}

// prepareTexts masks and clips what people or clients wrote. secrets are masked
// values of the arguments: a rule's reason may quote one.
func prepareTexts(c *Record, secrets []string) {
	text := func(s string, n int) string {
		for _, secret := range secrets {
			if len(secret) >= 4 {
				s = strings.ReplaceAll(s, secret, masked)
			}
		}
		return clip(maskText(s, prose), n)
	}
	name := func(s string) string { return clip(maskText(s, identifier), shortText) }

	c.Grant, c.Server, c.Effect = name(c.Grant), name(c.Server), name(c.Effect)
	c.ReasonCode, c.TraceID = name(c.ReasonCode), name(c.TraceID)
	c.Reason = text(c.Reason, longText)
	chain := c.Chain
	c.Chain = nil
	for _, id := range head(chain, most) {
		c.Chain = append(c.Chain, name(id))
	}
	if c.Subject != nil {
		long := func(s string) string { return clip(maskText(s, identifier), longText) }
		s := Subject{ID: long(c.Subject.ID), Type: name(c.Subject.Type), Issuer: long(c.Subject.Issuer), Actor: long(c.Subject.Actor)}
		for _, g := range head(c.Subject.Groups, most) {
			s.Groups = append(s.Groups, name(g))
		}
		c.Subject = &s
	}
	if c.Client != nil {
		c.Client = &Client{text(c.Client.Name, shortText), text(c.Client.Version, shortText)}
	}
	if c.Tool != nil {
		c.Tool = &Tool{name(c.Tool.Class), name(c.Tool.Risk), name(c.Tool.Digest), name(c.Tool.Pinned)}
	}
	if c.Policy != nil {
		c.Policy = &Policy{name(c.Policy.Revision), name(c.Policy.Digest)}
	}
	if c.Approval != nil {
		c.Approval = &Approval{name(c.Approval.ID), name(c.Approval.State)}
	}
	if c.Fault != nil {
		c.Fault = &Fault{name(c.Fault.Rule), text(c.Fault.Reason, longText)}
	}
	rules := c.Rules
	c.Rules = nil
	for _, r := range head(rules, most) {
		c.Rules = append(c.Rules, Rule{clip(r.Path, longText), name(r.ID), clip(r.File, longText), r.Line, text(r.Title, shortText)})
	}
	quota := c.Quota
	c.Quota = nil
	for _, q := range head(quota, most) {
		c.Quota = append(c.Quota, Quota{name(q.Name), name(q.Used), name(q.Limit), q.Reset.UTC()})
	}
	x := &c.Context
	*x = Context{name(x.Transport), name(x.ProtocolVersion), SessionHash(name(string(x.Session))), name(x.Peer), name(x.PEP)}
}

func head[T any](list []T, n int) []T { return list[:min(n, len(list))] }

// clip makes s valid UTF-8 and bounds it to n bytes; what is cut off is counted.
func clip(s string, n int) string {
	s = valid(s)
	if len(s) <= n {
		return s
	}
	cut := n
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return fmt.Sprintf("%s… (%d bytes more)", s[:cut], len(s)-cut)
}

func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
