package mcp

// Fault is why a frame, a header, a listing or an event was refused. It is the
// only error that the functions of this package make themselves; an
// EventReader also passes on the errors of the reader below it.
type Fault struct {
	Code   int    // JSON-RPC error code for the answer: -32700, -32600, -32602, -32020
	Status int    // HTTP status for the answer
	Rule   string // stable identifier of the rule, one of the Rule constants
	Reason string // one line for people; never quotes values of the frame
	Offset int    // byte offset in the frame, -1 when it has none
	ID     []byte // raw id of the frame, if it could be read unambiguously
}

// Error implements error.
func (f *Fault) Error() string { return f.Rule + ": " + f.Reason }

// The JSON-RPC and MCP error codes that faults and answers carry.
const (
	CodeParseError       = -32700
	CodeInvalidRequest   = -32600
	CodeMethodNotFound   = -32601
	CodeInvalidParams    = -32602
	CodeHeaderMismatch   = -32020 // MCP 2026-07-28
	CodeResourceNotFound = -32002 // MCP 2025-11-25 and older
)

// The rules that a Fault names. They are part of the audit record and of what
// `mcpermit frames check` prints, so they never change their meaning.
const (
	RuleTooLarge      = "too-large"         // the frame, or one event, is longer than the limit
	RuleTooDeep       = "too-deep"          // objects and arrays are nested deeper than the limit
	RuleTooMany       = "too-many-values"   // more JSON values than the limit
	RuleEmpty         = "empty"             // no JSON value at all
	RuleByteOrderMark = "byte-order-mark"   // the frame begins with a BOM
	RuleUTF8          = "utf-8"             // not UTF-8
	RuleSurrogate     = "surrogate"         // an escaped surrogate without its other half
	RuleSyntax        = "syntax"            // not JSON
	RuleTruncated     = "truncated"         // the JSON value does not end
	RuleTrailing      = "trailing-bytes"    // something follows the JSON value
	RuleLineBreak     = "line-break"        // CR or LF inside a stdio line
	RuleBatch         = "batch"             // an array of messages
	RuleNotObject     = "not-an-object"     // a scalar instead of a message
	RuleDuplicate     = "duplicate-name"    // a name twice in one object
	RuleFold          = "folded-name"       // two names that some readers take for the same one
	RuleControlName   = "control-in-name"   // a control character in a name
	RuleNumberLength  = "number-length"     // a number of more than 40 characters
	RuleNumberRange   = "number-range"      // a number outside of float64
	RuleNumberLoss    = "number-loss"       // a number that float64 would change
	RuleEnvelope      = "envelope"          // an unknown, missing or ill-typed member of the message
	RuleMixed         = "mixed-envelope"    // request and response members in one message
	RuleVersion       = "jsonrpc-version"   // jsonrpc is not "2.0"
	RuleID            = "id"                // a missing, forbidden or ill-formed id
	RuleMethod        = "method"            // an ill-formed method name
	RuleDirection     = "direction"         // a message that this side never sends
	RuleParams        = "params"            // an unknown, missing or ill-typed parameter
	RuleName          = "name"              // an ill-formed name of a tool, prompt, resource or task
	RuleMeta          = "meta"              // an ill-formed protocol member of _meta
	RuleRounds        = "round-trip"        // inputResponses or requestState where they have no place
	RuleApprovalState = "approval-state"    // an approval's state that is not whole, without its answer, or that would make another call of this one
	RuleContentType   = "content-type"      // not exactly one application/json
	RuleEncoding      = "content-encoding"  // any content coding
	RuleFraming       = "transfer-encoding" // Transfer-Encoding together with Content-Length
	RuleRepeated      = "repeated-header"   // a header twice that may be sent once
	RuleLookalike     = "lookalike-header"  // a header name that some servers fold into another one
	RuleEra           = "era"               // body and version header belong to different protocol eras
	RuleHeader        = "header-mismatch"   // a mirrored header is missing or differs from the body
	RuleListing       = "listing"           // a listing that cannot be read with certainty
)

// refuse makes the fault of a frame that was answered with HTTP 400.
func refuse(code int, rule, reason string, offset int) *Fault {
	return &Fault{Code: code, Status: 400, Rule: rule, Reason: reason, Offset: offset}
}
