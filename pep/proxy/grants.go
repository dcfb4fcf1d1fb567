package proxy

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pep"
	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

const (
	// grantsPath is where the holder of a grant makes a weaker one below it.
	grantsPath = "/grants"
	grantBytes = 64 << 10

	ruleGrant = "grant"
)

// grantRequest is the body of POST /grants. What it leaves out is as in the grant
// above.
type grantRequest struct {
	Subject struct {
		ID     string   `json:"id"`
		Type   string   `json:"type"`
		Groups []string `json:"groups"`
	} `json:"subject"`
	Servers     []string          `json:"servers"`
	Tools       []string          `json:"tools"`
	Classes     []string          `json:"classes"`
	Policies    []string          `json:"policies"`
	Labels      map[string]string `json:"labels"`
	NotBefore   *time.Time        `json:"not_before"`
	ExpiresAt   *time.Time        `json:"expires_at"`
	ExpiresIn   int64             `json:"expires_in"` // seconds, as in RFC 6749, section 5.1
	MaxUses     int64             `json:"max_uses"`
	Delegations int32             `json:"delegations"`
}

// grantAnswer is the answer: a grant, or why there is none.
type grantAnswer struct {
	ID        string     `json:"id,omitzero"`
	Token     string     `json:"token,omitzero"` // shown here and never again
	ExpiresAt *time.Time `json:"expires_at,omitzero"`
	Error     string     `json:"error,omitzero"` // a reason code: "revoked_token"
	Reason    string     `json:"reason,omitzero"`
}

// serveGrants serves POST /grants. What could not be read is on record like any
// other fault; the PDP has the rest on its trail.
func (p *Proxy) serveGrants(w http.ResponseWriter, r *http.Request) {
	a := p.arrive(w, r, nil)
	if a.ticket = p.gate.enter(false); a.ticket != nil {
		defer a.ticket.leave()
	}
	defer a.end()
	q, fault := a.grantRequest()
	if fault != nil {
		a.record(fault)
		a.refuseGrant(fault.Status, "malformed", fault.Reason)
		return
	}
	res := p.o.Enforcer.Delegate(a.ctx, q)
	if res.GetToken() == "" {
		code := res.GetReasonCode()
		a.refuseGrant(grantStatus(code), pep.ReasonName(code), res.GetReason())
		return
	}
	answer := grantAnswer{ID: res.GetGrantId(), Token: res.GetToken()}
	if at := res.GetExpiresAt(); at != nil {
		t := at.AsTime()
		answer.ExpiresAt = &t
	}
	a.answerGrant(http.StatusCreated, answer)
}

// grantRequest reads the question.
func (a *act) grantRequest() (*v1.DelegateGrantRequest, *mcp.Fault) {
	switch {
	case a.ticket == nil:
		return nil, busy
	case a.p.hosts.check(a.r.Host, a.r.Header["Origin"]) != nil:
		return nil, invalid(http.StatusForbidden, ruleHost, "this Host, or this Origin, is not served here")
	case a.r.Method != http.MethodPost:
		return nil, plain(http.StatusMethodNotAllowed, ruleVerb, "use POST")
	}
	if fault := framing(a.r); fault != nil {
		return nil, fault
	}
	if fault := mcp.CheckTransport(a.r.Header); fault != nil {
		return nil, fault
	}
	if fault := a.readUpTo(grantBytes); fault != nil {
		return nil, fault
	}
	var body grantRequest
	if err := json.Unmarshal(a.body, &body, json.RejectUnknownMembers(true)); err != nil {
		return nil, invalid(http.StatusBadRequest, ruleGrant, "the body is not what POST /grants takes: "+err.Error())
	}
	q, err := body.question(time.Now())
	if err != nil {
		return nil, invalid(http.StatusBadRequest, ruleGrant, err.Error())
	}
	q.Evidence = a.evidence
	return q, nil
}

// maxLifetime is the longest expires_in, in seconds: a hundred years.
const maxLifetime = 100 * 366 * 24 * 60 * 60

func (g *grantRequest) question(now time.Time) (*v1.DelegateGrantRequest, error) {
	switch {
	case g.Subject.ID == "":
		return nil, errors.New("subject.id: say whom the grant is for")
	case g.ExpiresAt != nil && g.ExpiresIn != 0:
		return nil, errors.New("give expires_at or expires_in, not both")
	case g.ExpiresIn < 0 || g.ExpiresIn > maxLifetime:
		return nil, errors.New("expires_in: want a number of seconds from now")
	case g.MaxUses < 0:
		return nil, errors.New("max_uses: want a number above 0; leave it out for as many as the grant above has")
	case g.Delegations < 0:
		return nil, errors.New("delegations: want the number of levels below the new grant")
	}
	q := &v1.DelegateGrantRequest{
		Subject: &v1.Subject{Id: g.Subject.ID, Type: g.Subject.Type, Groups: g.Subject.Groups},
		Servers: g.Servers, Tools: g.Tools, Classes: g.Classes, Policies: g.Policies, Labels: g.Labels,
		MaxUses: g.MaxUses, Delegations: g.Delegations,
	}
	if g.NotBefore != nil {
		q.NotBefore = timestamppb.New(*g.NotBefore)
	}
	switch {
	case g.ExpiresAt != nil:
		q.ExpiresAt = timestamppb.New(*g.ExpiresAt)
	case g.ExpiresIn > 0:
		q.ExpiresAt = timestamppb.New(now.Add(time.Duration(g.ExpiresIn) * time.Second))
	}
	return q, nil
}

// grantStatus is the HTTP status of a refusal.
func grantStatus(code v1.ReasonCode) int {
	switch code {
	case v1.ReasonCode_REASON_CODE_UNAUTHENTICATED, v1.ReasonCode_REASON_CODE_INVALID_TOKEN,
		v1.ReasonCode_REASON_CODE_EXPIRED_TOKEN, v1.ReasonCode_REASON_CODE_REVOKED_TOKEN:
		return http.StatusUnauthorized
	case v1.ReasonCode_REASON_CODE_MALFORMED, v1.ReasonCode_REASON_CODE_INVALID_ARGUMENTS:
		return http.StatusBadRequest
	case v1.ReasonCode_REASON_CODE_OVERLOADED, v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED, v1.ReasonCode_REASON_CODE_GRANT_USED_UP:
		return http.StatusTooManyRequests
	case v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE, v1.ReasonCode_REASON_CODE_AUDIT_UNAVAILABLE, v1.ReasonCode_REASON_CODE_POLICY_ERROR:
		return http.StatusServiceUnavailable
	default:
		return http.StatusForbidden
	}
}

func (a *act) refuseGrant(status int, code, reason string) {
	h := a.w.Header()
	switch status {
	case http.StatusUnauthorized:
		h.Set(headerChallenge, a.challenge())
	case http.StatusMethodNotAllowed:
		h.Set("Allow", http.MethodPost)
	case http.StatusRequestTimeout, http.StatusRequestEntityTooLarge:
		h.Set("Connection", "close")
	case http.StatusServiceUnavailable:
		h.Set("Retry-After", strconv.Itoa(1))
	}
	if reason == "" {
		reason = "Refused."
	}
	a.answerGrant(status, grantAnswer{Error: code, Reason: reason})
}

func (a *act) answerGrant(status int, answer grantAnswer) {
	b, err := json.Marshal(answer)
	if err != nil {
		status, b = http.StatusInternalServerError, []byte(`{"error":"unreadable"}`) // what the PDP said is not UTF-8
	}
	a.w.Header()["Content-Type"] = jsonOnly
	a.send(status, append(b, '\n'))
}
