package audit

import (
	"bytes"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// object writes the JSON of an entry member by member: the very bytes that
// json.Marshal makes of it with encoding, without the reflection. What it cannot
// write it marks as failed; json.Marshal then says why, or can.
type object struct {
	b []byte
	// checked: raw members are known to be JSON.
	checked bool
	failed  bool
}

// objects are for reuse: entries differ in size, and their own copies fit exactly.
var objects = sync.Pool{New: func() any { return new(object) }}

// writeObject returns the object whose members fn writes, unless something failed.
func writeObject(checked bool, fn func(*object)) ([]byte, bool) {
	o := objects.Get().(*object)
	o.b, o.checked, o.failed = append(o.b[:0], '{'), checked, false
	fn(o)
	o.close()
	b, ok := bytes.Clone(o.b), !o.failed
	if cap(o.b) <= 64<<10 {
		objects.Put(o)
	}
	return b, ok
}

// name begins a member. No value ends in an opening brace, so that one tells whether
// this is the first member.
func (o *object) name(name string) {
	if o.b[len(o.b)-1] != '{' {
		o.b = append(o.b, ',')
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
}

// open begins a member that is an object.
func (o *object) open(name string) {
	o.name(name)
	o.b = append(o.b, '{')
}

func (o *object) close() { o.b = append(o.b, '}') }

// text writes a member, even an empty one.
func (o *object) text(name, s string) {
	o.name(name)
	o.quote(s)
}

// optional writes a member, unless it is empty. So do the methods below.
func (o *object) optional(name, s string) {
	if s != "" {
		o.text(name, s)
	}
}

func (o *object) texts(name string, list []string) {
	if len(list) == 0 {
		return
	}
	o.name(name)
	o.b = append(o.b, '[')
	for i, s := range list {
		o.next(i)
		o.quote(s)
	}
	o.b = append(o.b, ']')
}

// next begins element i of an array.
func (o *object) next(i int) {
	if i > 0 {
		o.b = append(o.b, ',')
	}
}

func (o *object) number(name string, n int64) {
	if n != 0 {
		o.name(name)
		o.b = strconv.AppendInt(o.b, n, 10)
	}
}

func (o *object) seq(n uint64) {
	if n != 0 {
		o.name("seq")
		o.b = strconv.AppendUint(o.b, n, 10)
	}
}

func (o *object) flag(name string, set bool) {
	if set {
		o.name(name)
		o.b = append(o.b, "true"...)
	}
}

func (o *object) when(name string, t time.Time) {
	if !t.IsZero() {
		o.time(name, t)
	}
}

// time writes a member, even the zero time.
func (o *object) time(name string, t time.Time) {
	o.name(name)
	b, err := t.AppendText(append(o.b, '"'))
	o.b, o.failed = append(b, '"'), o.failed || err != nil
}

// deep is about how deep JSON may be nested within a member. Readers take 10,000
// levels, those of the entry included.
const deep = 9_000

// raw writes a member that is JSON already, without white space between its tokens.
func (o *object) raw(name string, v jsontext.Value) {
	if v == nil {
		return
	}
	o.name(name)
	if bytes.Count(v, []byte{'['})+bytes.Count(v, []byte{'{'}) > deep {
		o.failed = true
		return
	}
	if o.checked {
		o.b = appendTight(o.b, v)
		return
	}
	b, err := jsontext.AppendFormat(o.b, v, encoding)
	if err != nil {
		o.failed = true
		return
	}
	o.b = b
}

// appendTight appends valid JSON without the white space between its tokens.
func appendTight(dst, v []byte) []byte {
	from, quoted := 0, false
	for i := 0; i < len(v); i++ {
		switch v[i] {
		case '"':
			quoted = !quoted
		case '\\':
			i++
		case ' ', '\t', '\n', '\r':
			if !quoted {
				dst = append(dst, v[from:i]...)
				from = i + 1
			}
		}
	}
	return append(dst, v[from:]...)
}

// escapeOrWide are the bytes of a string that need a closer look.
var escapeOrWide = func() (look [256]bool) {
	for c := range look {
		look[c] = c < ' ' || c == '"' || c == '\\' || c >= 0x80
	}
	return look
}()

func (o *object) quote(s string) {
	for i := range len(s) {
		if escapeOrWide[s[i]] {
			b, err := jsontext.AppendQuote(o.b, s)
			o.b, o.failed = b, o.failed || err != nil
			return
		}
	}
	o.b = append(o.b, '"')
	o.b = append(o.b, s...)
	o.b = append(o.b, '"')
}

// record writes the members of r, in the order of its fields.
func (o *object) record(r *Record) {
	o.seq(r.Seq)
	o.optional("type", r.Type)
	o.time("time", r.Time)
	o.text("decision_id", r.DecisionID)
	o.frame(&r.Frame)
	o.who(r)
	o.optional("server", r.Server)
	if t := r.Tool; t != nil {
		o.open("tool")
		o.optional("class", t.Class)
		o.optional("risk", t.Risk)
		o.optional("digest", t.Digest)
		o.optional("pinned", t.Pinned)
		o.close()
	}
	o.text("effect", r.Effect)
	o.optional("reason_code", r.ReasonCode)
	o.optional("reason", r.Reason)
	o.basis(r)
	o.raw("arguments", r.Arguments)
	o.raw("input", r.Input)
	o.texts("masked", r.Masked)
	if t := r.Truncated; t != nil {
		o.open("truncated")
		o.name("truncated")
		o.b = strconv.AppendBool(o.b, t.Truncated)
		o.name("bytes")
		o.b = strconv.AppendInt(o.b, t.Bytes, 10)
		o.text("digest", t.Digest)
		o.close()
	}
	o.context(&r.Context)
	if f := r.Fault; f != nil {
		o.open("fault")
		o.text("rule", f.Rule)
		o.optional("reason", f.Reason)
		o.close()
	}
	o.optional("trace_id", r.TraceID)
	o.outcome(r.Outcome)
	o.optional("prev", r.Prev)
	o.optional("hash", r.Hash)
}

func (o *object) frame(f *Frame) {
	o.open("frame")
	o.optional("method", f.Method)
	o.optional("name", f.Name)
	o.raw("id", f.ID)
	o.number("bytes", f.Bytes)
	o.optional("digest", f.Digest)
	o.optional("kind", f.Kind)
	o.optional("direction", f.Direction)
	o.close()
}

// who writes subject, grant, chain and client.
func (o *object) who(r *Record) {
	if s := r.Subject; s != nil {
		o.open("subject")
		o.text("id", s.ID)
		o.optional("type", s.Type)
		o.texts("groups", s.Groups)
		o.optional("issuer", s.Issuer)
		o.optional("actor", s.Actor)
		o.close()
	}
	o.optional("grant", r.Grant)
	o.texts("chain", r.Chain)
	if c := r.Client; c != nil {
		o.open("client")
		o.optional("name", c.Name)
		o.optional("version", c.Version)
		o.close()
	}
}

// basis writes what the decision rests on: rules, policy, quota and approval.
func (o *object) basis(r *Record) {
	if len(r.Rules) > 0 {
		o.name("rules")
		o.b = append(o.b, '[')
		for i := range r.Rules {
			o.next(i)
			o.rule(&r.Rules[i])
		}
		o.b = append(o.b, ']')
	}
	if p := r.Policy; p != nil {
		o.open("policy")
		o.optional("revision", p.Revision)
		o.optional("digest", p.Digest)
		o.close()
	}
	if len(r.Quota) > 0 {
		o.name("quota")
		o.b = append(o.b, '[')
		for i := range r.Quota {
			o.next(i)
			o.quota(&r.Quota[i])
		}
		o.b = append(o.b, ']')
	}
	if a := r.Approval; a != nil {
		o.open("approval")
		o.text("id", a.ID)
		o.optional("state", a.State)
		o.close()
	}
}

func (o *object) rule(r *Rule) {
	o.b = append(o.b, '{')
	o.text("path", r.Path)
	o.optional("id", r.ID)
	o.optional("file", r.File)
	o.number("line", int64(r.Line))
	o.optional("title", r.Title)
	o.close()
}

func (o *object) quota(q *Quota) {
	o.b = append(o.b, '{')
	o.text("name", q.Name)
	o.text("used", q.Used)
	o.text("limit", q.Limit)
	o.when("reset", q.Reset)
	o.close()
}

func (o *object) context(c *Context) {
	o.open("context")
	o.optional("transport", c.Transport)
	o.optional("protocol_version", c.ProtocolVersion)
	o.optional("session", string(c.Session))
	o.optional("peer", c.Peer)
	o.optional("pep", c.PEP)
	o.close()
}

func (o *object) outcome(u *Outcome) {
	if u == nil {
		return
	}
	o.open("outcome")
	o.name("forwarded")
	o.b = strconv.AppendBool(o.b, u.Forwarded)
	o.number("status", int64(u.Status))
	o.flag("is_error", u.IsError)
	o.number("bytes", u.Bytes)
	o.number("duration_us", u.DurationUS)
	o.optional("error", u.Error)
	o.number("listed", int64(u.Listed))
	o.number("hidden", int64(u.Hidden))
	o.close()
}

// note writes the members of n, in the order of its fields.
func (o *object) note(n *note) {
	o.seq(n.Seq)
	o.text("type", n.Type)
	o.time("time", n.Time)
	o.optional("decision_id", n.DecisionID)
	o.outcome(n.Outcome)
	o.number("records", n.Records)
	o.when("from", n.From)
	o.when("to", n.To)
	o.optional("reason", n.Reason)
	o.flag("lost", n.Lost)
	o.optional("prev", n.Prev)
	o.optional("hash", n.Hash)
}
