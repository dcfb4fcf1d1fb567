package webhook

import (
	"encoding/hex"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/mcpermit/mcpermit/pdp/approval"
)

// types are the events that targets are told of, by the type in the body.
var types = map[approval.EventKind]string{
	approval.EventOpened:  "approval.opened",
	approval.EventDecided: "approval.decided",
	approval.EventUsed:    "approval.used",
}

// maxArguments is how many bytes of arguments a body holds; larger ones are on
// the page only.
const maxArguments = 16 << 10

// message is the body.
type message struct {
	Type      string    `json:"type"`
	Timestamp time.Time `json:"timestamp"`
	Data      data      `json:"data"`
}

// data is the approval without what must not be shown.
type data struct {
	ID    string `json:"id"`
	State string `json:"state"` // "pending", "approved", "refused" or "used"
	// Link is the page on which people see the exact call and decide.
	Link string `json:"link,omitzero"`

	Subject subject `json:"subject"`
	Owner   string  `json:"owner,omitzero"`
	Grant   string  `json:"grant"`
	Server  string  `json:"server"`
	Method  string  `json:"method"`
	Name    string  `json:"name,omitzero"`
	Tool    *tool   `json:"tool,omitzero"`
	// Arguments are those of the call, what is secret masked; absent when there
	// are none, or ArgumentsOmitted.
	Arguments        jsontext.Value `json:"arguments,omitzero"`
	ArgumentsOmitted bool           `json:"arguments_omitted,omitzero"`
	// ArgumentsDigest is the SHA-256 over their canonical form (RFC 8785).
	ArgumentsDigest string `json:"arguments_digest"`

	Reason       string        `json:"reason,omitzero"`
	Rules        []rule        `json:"rules,omitempty"`
	Requirements []requirement `json:"requirements"`
	Votes        []vote        `json:"votes,omitempty"`

	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	DecidedAt time.Time `json:"decided_at,omitzero"`
	UsedAt    time.Time `json:"used_at,omitzero"`
	// The decisions that opened and used it.
	OpenedBy string `json:"opened_by,omitzero"`
	UsedBy   string `json:"used_by,omitzero"`
}

type subject struct {
	ID     string   `json:"id"`
	Type   string   `json:"type"`
	Groups []string `json:"groups,omitempty"`
}

type tool struct {
	Class string `json:"class,omitzero"`
	Risk  string `json:"risk,omitzero"`
}

type rule struct {
	Path   string `json:"path"`
	ID     string `json:"id,omitzero"`
	Title  string `json:"title,omitzero"`
	Reason string `json:"reason,omitzero"`
}

type requirement struct {
	Approvers []string `json:"approvers,omitempty"` // none: every approver
	Required  int      `json:"required"`
	Given     int      `json:"given"`
}

type vote struct {
	Person   string    `json:"person"`
	At       time.Time `json:"at"`
	Approved bool      `json:"approved"`
	Reason   string    `json:"reason,omitzero"`
	Via      string    `json:"via,omitzero"`
}

func (s *Sender) body(f Format, e *approval.Event) ([]byte, error) {
	if f == Slack {
		return s.slackBody(e)
	}
	return json.Marshal(message{types[e.Kind], e.At.UTC(), s.data(&e.Approval)}, jsontext.AllowInvalidUTF8(true))
}

func (s *Sender) data(a *approval.Approval) data {
	a = s.quoting(a)
	d := data{
		ID: a.ID, State: a.State.String(), Link: s.link(a.ID),
		Subject: subject{a.Subject.ID, a.Subject.Type, a.Subject.Groups}, Owner: a.Owner, Grant: a.GrantID,
		Server: a.Server, Method: a.Method, Name: a.Name, ArgumentsDigest: hex.EncodeToString(a.ArgumentsDigest[:]),
		Reason: a.Reason, CreatedAt: a.CreatedAt, ExpiresAt: a.ExpiresAt, DecidedAt: a.DecidedAt, UsedAt: a.UsedAt,
		OpenedBy: a.OpenedBy, UsedBy: a.UsedBy,
	}
	if a.ToolClass != "" || a.ToolRisk != "" {
		d.Tool = &tool{a.ToolClass, a.ToolRisk}
	}
	if shown := s.arguments(a); len(shown) > 0 && len(shown) <= maxArguments {
		d.Arguments = shown
	} else {
		d.ArgumentsOmitted = len(a.Arguments) > 0
	}
	for _, r := range a.Rules {
		d.Rules = append(d.Rules, rule{r.Path, r.ID, r.Title, r.Reason})
	}
	for _, r := range a.Requirements {
		d.Requirements = append(d.Requirements, requirement{r.Approvers, r.Required, r.Given(a.Votes)})
	}
	for _, v := range a.Votes {
		d.Votes = append(d.Votes, vote{v.Person, v.At, v.Approved, v.Reason, v.Via})
	}
	return d
}

// arguments are those that may be shown; nil when there are none.
func (s *Sender) arguments(a *approval.Approval) jsontext.Value {
	if len(a.Arguments) == 0 || s.options.Mask == nil {
		return nil
	}
	shown := jsontext.Value(s.options.Mask(a.Arguments, a.Masked))
	if !shown.IsValid(jsontext.AllowDuplicateNames(true)) {
		return nil
	}
	return shown
}

func (s *Sender) link(id string) string {
	if s.options.Link == nil {
		return ""
	}
	return s.options.Link(id)
}
