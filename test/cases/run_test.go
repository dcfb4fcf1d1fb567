package cases

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mcpermit/mcpermit/pdp/audit"
)

// result is all that became of a case on one way.
type result struct {
	steps []*stepResult
	wrong []string // what the case's author says that it should not be
}

// stepResult is what became of a step.
type stepResult struct {
	request string
	answer  reply
	got     []string // by the server
	records []*audit.Record
	decided string // then, by a person
	sealed  bool   // the frame holds what was sealed, so that no two runs send the same
}

// reply is an HTTP answer that was read to its end.
type reply struct {
	status   int
	header   http.Header
	body     []byte
	trailer  http.Header
	bodyErr  error
	sameCuts int // how many more times it was the same, the server's body cut elsewhere
}

// run performs a case.
func (w *way) run(t *testing.T, c *testCase) *result {
	t.Helper()
	res := new(result)
	w.trail.next(t)
	for i := range c.Steps {
		s := &c.Steps[i]
		if s.Approve || s.Refuse != "" {
			w.decide(t, s, res.steps[len(res.steps)-1])
			continue
		}
		filled := s.after(res.steps)
		r := w.perform(t, c, filled)
		r.sealed = filled != s
		r.records = w.trail.next(t)
		r.got = w.house.take(c.server)
		res.steps = append(res.steps, r)
		wrong := w.told(r)
		r.records = slices.DeleteFunc(r.records, isGateways)
		if c.Differs[w.name] == "" {
			wrong = append(wrong, s.Expect.held(r)...)
			if n := s.Expect.Like; n > 0 {
				wrong = append(wrong, alike(t, c.Steps[n-1].named(t, res.steps[n-1]), s.named(t, r))...)
			}
		}
		for _, what := range wrong {
			res.wrong = append(res.wrong, fmt.Sprintf("%s, step %d: %s", w.name, i+1, what))
		}
	}
	if c.Effect != "" {
		for _, wrong := range c.held(res.steps[0].own()) {
			res.wrong = append(res.wrong, w.name+": "+wrong)
		}
	}
	return res
}

// decide votes on the approval that the record of a step names.
func (w *way) decide(t *testing.T, s *step, of *stepResult) {
	t.Helper()
	record := of.own()
	if record == nil || record.Approval == nil {
		t.Fatalf("%s: no approval is on record: %+v", w.name, record)
	}
	w.vote(t, record.Approval.ID, s.Refuse)
	of.decided = "approved"
	if s.Refuse != "" {
		of.decided = "refused: " + s.Refuse
	}
}

var stateOf = regexp.MustCompile(`STATE-(\d)`)

// after is the step with the requestState of earlier answers in its frame, where
// it names them. An answer without one leaves the name.
func (s *step) after(results []*stepResult) *step {
	if s.Post == nil || !stateOf.MatchString(*s.Post) {
		return s
	}
	post := stateOf.ReplaceAllStringFunc(*s.Post, func(name string) string {
		n, _ := strconv.Atoi(name[len("STATE-"):])
		var answer struct{ Result struct{ RequestState string } }
		if n < 1 || n > len(results) || json.Unmarshal(results[n-1].answer.body, &answer) != nil || answer.Result.RequestState == "" {
			return name
		}
		return answer.Result.RequestState
	})
	filled := *s
	filled.Post = &post
	return &filled
}

// perform sends the step's request, more than once where the server's answer is
// cut at every place.
func (w *way) perform(t *testing.T, c *testCase, s *step) *stepResult {
	t.Helper()
	cut := 0
	if s.Answer != nil && s.Answer.Cuts {
		cut = 1
	}
	w.house.expect(c.server, s.Answer, cut)
	first := &stepResult{answer: w.send(t, c, s)}
	first.request = s.describe(c)
	for ; cut > 0 && cut+1 < len(s.Answer.content()); cut++ {
		w.house.take(c.server)
		w.house.expect(c.server, s.Answer, cut+1)
		if again := w.send(t, c, s); again.String() != first.answer.String() {
			t.Errorf("%s: %s: cut after byte %d the answer became another:\n%s\nfirst:\n%s", w.name, c.Name, cut+1, again, first.answer)
			break
		}
		first.answer.sameCuts++
	}
	return first
}

// send makes one request.
func (w *way) send(t *testing.T, c *testCase, s *step) reply {
	t.Helper()
	path := s.Path
	if path == "" {
		path = "/mcp/SERVER/"
	}
	r, err := http.NewRequestWithContext(t.Context(), s.verb(), w.url+strings.ReplaceAll(path, "SERVER", c.server), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header["Accept"], r.Header["User-Agent"] = []string{"application/json, text/event-stream"}, []string{"corpus"}
	if s.Post != nil {
		body := []byte(*s.Post)
		if n := s.Pad - len(body); n > 0 {
			body = append(body, bytes.Repeat([]byte(" "), n)...)
		}
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		if s.Chunked {
			r.ContentLength = -1
		}
		r.Header["Content-Type"] = []string{"application/json"}
	}
	if token := w.tokens[s.as()]; token != "" {
		r.Header["Authorization"] = []string{"Bearer " + token}
	} else if s.as() != "nobody" {
		t.Fatalf("%s: there is no %s", c.Name, s.as())
	}
	for name, v := range s.Headers {
		r.Header[name] = v
		if len(v) == 0 {
			delete(r.Header, name)
		}
	}
	r.Host = s.Host
	res, err := w.client.RoundTrip(r)
	if err != nil {
		t.Fatalf("%s: %s: %v", w.name, c.Name, err)
	}
	defer res.Body.Close()
	out := reply{status: res.StatusCode, header: res.Header}
	out.body, out.bodyErr = io.ReadAll(&noticing{Reader: res.Body, seen: w.house.noticed(true)})
	out.trailer = res.Trailer
	return out
}

// noticing tells by a channel that something was read.
type noticing struct {
	io.Reader
	seen chan struct{}
	done bool
}

func (n *noticing) Read(b []byte) (int, error) {
	got, err := n.Reader.Read(b)
	if got > 0 && !n.done {
		n.done = true
		close(n.seen)
	}
	return got, err
}

func (s *step) as() string {
	if s.As == "" {
		return "alice"
	}
	return s.As
}

func (s *step) verb() string {
	switch {
	case s.Method != "":
		return s.Method
	case s.Get:
		return http.MethodGet
	case s.Delete:
		return http.MethodDelete
	}
	return http.MethodPost
}

func (s *step) describe(c *testCase) string {
	text := "> " + s.as() + ": " + s.verb() + " " + strings.ReplaceAll(s.Path, "SERVER", c.server)
	if s.Post != nil {
		text += " " + strconv.Quote(*s.Post)
	}
	return text
}

// isGateways says of a record that it is of the gateway's own question for a
// listing; see message.isGateways.
func isGateways(r *audit.Record) bool {
	return (&message{ID: json.RawMessage(r.Frame.ID)}).isGateways()
}

// own is the record of the step's own frame: the last that went to the server.
func (r *stepResult) own() *audit.Record {
	for _, rec := range slices.Backward(r.records) {
		if rec.Frame.Direction != "to_client" {
			return rec
		}
	}
	return nil
}

// held says what the step's result has not of what was expected.
func (e *expect) held(r *stepResult) (wrong []string) {
	bad := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if e.Status != 0 && r.answer.status != e.Status {
		bad("status %d, want %d: %.300q", r.answer.status, e.Status, r.answer.body)
	}
	for _, text := range e.Has {
		if !bytes.Contains(r.answer.body, []byte(text)) {
			bad("the answer has no %q: %.300q", text, r.answer.body)
		}
	}
	for _, text := range e.Lacks {
		if bytes.Contains(r.answer.body, []byte(text)) {
			bad("the answer has %q: %.300q", text, r.answer.body)
		}
	}
	if e.Reaches != nil && *e.Reaches != (len(r.got) > 0) {
		bad("reached the server: %t, want %t", len(r.got) > 0, *e.Reaches)
	}
	for _, text := range e.Got {
		if !strings.Contains(strings.Join(r.got, ""), text) {
			bad("the server did not get %q: %q", text, r.got)
		}
	}
	if e.Effect == "" && e.Code == "" {
		return wrong
	}
	own := r.own()
	if own == nil {
		bad("it is not on record")
		return wrong
	}
	if e.Effect != "" && own.Effect != e.Effect {
		bad("effect %s, want %s", own.Effect, e.Effect)
	}
	if e.Code != "" && own.ReasonCode != e.Code {
		bad("reason code %s, want %s", own.ReasonCode, e.Code)
	}
	return wrong
}

// named is a step's answer with a placeholder for what its frame names.
func (s *step) named(t *testing.T, r *stepResult) string {
	t.Helper()
	var m message
	if err := json.Unmarshal([]byte(*s.Post), &m); err != nil {
		t.Fatal(err)
	}
	plain := r.answer
	plain.body = bytes.ReplaceAll(plain.body, []byte(m.Params.Name+m.Params.URI), []byte("NAME"))
	return plain.String()
}

// alike holds hidden and unknown against one another (I3).
func alike(t *testing.T, first, second string) (wrong []string) {
	t.Helper()
	if first != second {
		wrong = append(wrong, "told apart: "+cmp.Diff(first, second))
	}
	return wrong
}

// held says what the record has not of what the decision says.
func (d *decision) held(r *audit.Record) (wrong []string) {
	if r == nil {
		return []string{"it is not on record"}
	}
	var rules []string
	for _, rule := range r.Rules {
		rules = append(rules, rule.ID)
	}
	reason, fault := r.Reason, ""
	if r.Fault != nil {
		reason, fault = "", r.Fault.Rule
	}
	for _, c := range []struct{ what, got, want string }{
		{"effect", r.Effect, d.Effect},
		{"reason code", r.ReasonCode, d.Code},
		{"fault", fault, d.Fault},
		{"reason", reason, d.Reason},
		{"rules", strings.Join(rules, " "), strings.Join(d.Rules, " ")},
		{"masked", strings.Join(r.Masked, " "), strings.Join(d.Masked, " ")},
	} {
		if c.got != c.want {
			wrong = append(wrong, fmt.Sprintf("%s %q, want %q", c.what, c.got, c.want))
		}
	}
	return wrong
}

// told holds the records against what the decider said, where it is in reach.
func (w *way) told(r *stepResult) (wrong []string) {
	if w.heard == nil {
		return nil
	}
	for _, rec := range r.records {
		said := w.heard.about(rec.DecisionID)
		if said == nil {
			wrong = append(wrong, "a record of a decision that nobody made: "+rec.DecisionID)
			continue
		}
		var rules, recorded []string
		for _, rule := range said.GetRules() {
			rules = append(rules, rule.GetPath()+"#"+rule.GetId())
		}
		for _, rule := range rec.Rules {
			recorded = append(recorded, rule.Path+"#"+rule.ID)
		}
		effect := strings.ToLower(strings.TrimPrefix(said.GetEffect().String(), "EFFECT_"))
		code := strings.ToLower(strings.TrimPrefix(said.GetReasonCode().String(), "REASON_CODE_"))
		if effect != rec.Effect || code != rec.ReasonCode && rec.ReasonCode != "" || said.GetReason() != rec.Reason || !slices.Equal(rules, recorded) {
			wrong = append(wrong, fmt.Sprintf("said %v, recorded %+v", said, rec))
		}
	}
	return wrong
}

// allowed are the decisions of the result that have to have an outcome.
func (res *result) allowed() (ids []string) {
	for _, r := range res.steps {
		for _, rec := range r.records {
			if rec.Effect == "allow" {
				ids = append(ids, rec.DecisionID)
			}
		}
	}
	return ids
}

// elapsed is for the log alone.
func elapsed(since time.Time) time.Duration { return time.Since(since).Round(10 * time.Millisecond) }
