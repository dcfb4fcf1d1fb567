package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The kinds of entry that a segment holds, the `type` member of each line.
const (
	typeRecord  = "record"  // one decision
	typeOutcome = "outcome" // what became of an allowed frame, appended later
	typeAct     = "act"     // what a person did
	typeSeal    = "seal"    // last entry of a full segment
	typeRepair  = "repair"  // what Open found wrong, said in the trail itself
)

// Record is the audit record of one decision. Its JSON form is one line of the
// trail; members that are empty are left out.
//
// A caller fills everything but Seq, Type, Masked, Truncated, Outcome, Prev and
// Hash, and gives the values as they are: [Log.Record] masks and clips its own
// copy and never changes the caller's Record.
type Record struct {
	// Seq is the entry's place in the trail, from 1; outcomes and other entries
	// take numbers too, so the records alone have gaps.
	Seq  uint64 `json:"seq,omitzero"`
	Type string `json:"type,omitzero"`
	// Time is when the decision was made: the policy's input.context.time.
	// Log.Record sets the present time when it is zero.
	Time       time.Time `json:"time"`
	DecisionID string    `json:"decision_id"`
	Frame      Frame     `json:"frame"`
	Subject    *Subject  `json:"subject,omitzero"` // nil when it could not be established
	Grant      string    `json:"grant,omitzero"`   // grant id, never its token
	// Chain are the ids of the grants that Grant was made from, the nearest first.
	Chain  []string `json:"chain,omitempty"`
	Client *Client  `json:"client,omitzero"`
	Server string   `json:"server,omitzero"`
	Tool   *Tool    `json:"tool,omitzero"`
	// Effect is "allow", "deny", "hide" or "approve".
	Effect string `json:"effect"`
	// ReasonCode is the API's ReasonCode in lower case, without its prefix: "policy", "no_match", …
	ReasonCode string    `json:"reason_code,omitzero"`
	Reason     string    `json:"reason,omitzero"`
	Rules      []Rule    `json:"rules,omitempty"`
	Policy     *Policy   `json:"policy,omitzero"`
	Quota      []Quota   `json:"quota,omitempty"`
	Approval   *Approval `json:"approval,omitzero"`
	// Arguments are the raw JSON bytes of the frame. What is written has its
	// secrets masked and white space between tokens dropped; every other byte stays.
	Arguments jsontext.Value `json:"arguments,omitzero"`
	// Input is whatever else the policy saw and a replay needs (claims, labels,
	// traits, …), one raw JSON object; masked like Arguments.
	Input jsontext.Value `json:"input,omitzero"`
	// Masked lists JSON pointers to the masked places of Arguments: a record with
	// any of them can be read, but not replayed.
	Masked []string `json:"masked,omitempty"`
	// Truncated stands for Arguments that were left out.
	Truncated *Truncated `json:"truncated,omitzero"`
	Context   Context    `json:"context"`
	Fault     *Fault     `json:"fault,omitzero"`
	TraceID   string     `json:"trace_id,omitzero"`
	// Outcome is no part of the stored record: reading joins it in.
	Outcome *Outcome `json:"outcome,omitzero"`
	Prev    string   `json:"prev,omitzero"`
	Hash    string   `json:"hash,omitzero"`

	// Mask lists JSON pointers into Arguments whose values must not be written.
	Mask []string `json:"-"`
}

// Frame is what arrived.
type Frame struct {
	Method string `json:"method,omitzero"`
	// Name is the tool, prompt or resource that the frame is about.
	Name string `json:"name,omitzero"`
	// ID is the raw JSON-RPC id.
	ID     jsontext.Value `json:"id,omitzero"`
	Bytes  int64          `json:"bytes,omitzero"`
	Digest string         `json:"digest,omitzero"` // "sha256:" and 64 hexadecimal digits
	// Kind is "request", "notification", "response", "stream" or "session_end".
	Kind string `json:"kind,omitzero"`
	// Direction is "to_server" or "to_client".
	Direction string `json:"direction,omitzero"`
}

// Subject is on whose behalf the frame was sent.
type Subject struct {
	ID     string   `json:"id"`
	Type   string   `json:"type,omitzero"`
	Groups []string `json:"groups,omitempty"`
	// Issuer has vouched for the subject; empty for one that a grant names.
	Issuer string `json:"issuer,omitzero"`
	// Actor acts on behalf of the subject; empty where it acts itself.
	Actor string `json:"actor,omitzero"`
}

// Client is what the client says of itself.
type Client struct {
	Name    string `json:"name,omitzero"`
	Version string `json:"version,omitzero"`
}

// Tool is what the catalog knew of the tool.
type Tool struct {
	Class  string `json:"class,omitzero"`
	Risk   string `json:"risk,omitzero"`
	Digest string `json:"digest,omitzero"`
	Pinned string `json:"pinned,omitzero"` // "match", "drift" or "unknown"
}

// Rule is one rule that fired in the effect that won.
type Rule struct {
	Path  string `json:"path"`
	ID    string `json:"id,omitzero"`
	File  string `json:"file,omitzero"`
	Line  int    `json:"line,omitzero"`
	Title string `json:"title,omitzero"`
}

// Policy names the policy that decided.
type Policy struct {
	Revision string `json:"revision,omitzero"`
	Digest   string `json:"digest,omitzero"`
}

// Quota is one quota as it stood after the reservation. Used and Limit are
// exact decimals.
type Quota struct {
	Name  string    `json:"name"`
	Used  string    `json:"used"`
	Limit string    `json:"limit"`
	Reset time.Time `json:"reset,omitzero"`
}

// Approval is the approval record that the decision opened or consumed.
type Approval struct {
	ID    string `json:"id"`
	State string `json:"state,omitzero"` // "pending", "approved", "refused", "used" or "expired"
}

// Truncated says what was left out for its size, or because it is not JSON.
type Truncated struct {
	Truncated bool   `json:"truncated"` // always true
	Bytes     int64  `json:"bytes"`
	Digest    string `json:"digest"` // "sha256:" over the bytes as they arrived
}

// Context is everything about the frame that is not its content.
type Context struct {
	Transport       string      `json:"transport,omitzero"` // "http", "stdio" or "envoy"
	ProtocolVersion string      `json:"protocol_version,omitzero"`
	Session         SessionHash `json:"session,omitzero"`
	Peer            string      `json:"peer,omitzero"`
	PEP             string      `json:"pep,omitzero"`
}

// Fault is why the PEP's reader refused the frame.
type Fault struct {
	Rule   string `json:"rule"`
	Reason string `json:"reason,omitzero"`
}

// Outcome is what became of an allowed frame.
type Outcome struct {
	Forwarded  bool   `json:"forwarded"`
	Status     int    `json:"status,omitzero"` // HTTP status, 0 when there was none
	IsError    bool   `json:"is_error,omitzero"`
	Bytes      int64  `json:"bytes,omitzero"`
	DurationUS int64  `json:"duration_us,omitzero"` // microseconds
	Error      string `json:"error,omitzero"`
	Listed     int    `json:"listed,omitzero"`
	Hidden     int    `json:"hidden,omitzero"`
}

// SessionHash stands for an MCP session id, which is a secret: whoever has it
// can speak in the session.
type SessionHash string

// HashSession returns what may be written of a session id; "" of "".
func HashSession(id string) SessionHash {
	if id == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(id))
	return SessionHash("sha256:" + hex.EncodeToString(sum[:16]))
}

// InputMasked reports whether something of Input, or of the subject, was masked: as
// with Masked, the policy saw other than what is on record.
func (r *Record) InputMasked() bool {
	s := r.Subject
	return bytes.Contains(r.Input, []byte(masked)) ||
		s != nil && strings.Contains(strings.Join(append([]string{s.ID, s.Issuer, s.Actor}, s.Groups...), "\n"), masked)
}

// encoding holds for every line: member names may repeat (masking can make two
// names equal), and the bytes of raw members are kept.
var encoding = json.JoinOptions(
	jsontext.AllowDuplicateNames(true),
	jsontext.PreserveRawStrings(true),
)

// JSON returns the record as one line without a line break. Of a record that was
// read from the trail and has no outcome, these are the very bytes of the line.
func (r *Record) JSON() ([]byte, error) { return r.encode(false) }

// encode is JSON; checked says that the raw members are known to be JSON.
func (r *Record) encode(checked bool) ([]byte, error) {
	if b, ok := writeObject(checked, func(o *object) { o.record(r) }); ok {
		return b, nil
	}
	b, err := json.Marshal(r, encoding)
	if err != nil {
		return nil, fmt.Errorf("audit: encode record %q: %w", r.DecisionID, err)
	}
	return b, nil
}

// ParseRecord reads what [Record.JSON] wrote.
func ParseRecord(b []byte) (*Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r, encoding); err != nil {
		return nil, fmt.Errorf("audit: read record: %w", err)
	}
	return &r, nil
}
