package mcp

// Limits bound what Read looks at. A zero field means the default.
type Limits struct {
	Bytes  int // length of the whole frame; default 1 MiB
	Depth  int // nesting of objects and arrays; default 64
	Values int // number of JSON values, names not counted; default 10,000
	// ExactNumbers accepts numbers that float64 would change. Only for servers
	// behind which every reader is known to be exact.
	ExactNumbers bool
}

// Kind of a JSON-RPC message.
type Kind uint8

const (
	KindInvalid Kind = iota
	KindRequest
	KindNotification
	KindResponse
)

// Frame is one JSON-RPC message. All byte slices alias Bytes; nobody may
// change them.
type Frame struct {
	Bytes  []byte // the message exactly as it arrived
	Kind   Kind
	ID     []byte // raw JSON token (string or integer); nil for a notification
	Method string // empty for a response

	Params    []byte // raw params object; nil when absent
	Arguments []byte // raw params.arguments; nil when absent
	Result    []byte // raw result of a response; nil when absent
	Error     []byte // raw error of a response; nil when absent

	// Name is what the frame is about: params.name of tools/call and
	// prompts/get, params.uri of the resource methods, the name or uri of
	// params.ref of completion/complete, params.taskId of tasks/*. Decoded.
	Name    string
	HasName bool

	Meta           Meta
	InputResponses []byte // raw params.inputResponses (2026-07-28)
	RequestState   []byte // raw params.requestState (2026-07-28)
}

// Meta is what Read takes out of params._meta, and, for initialize, out of the
// corresponding members of params.
type Meta struct {
	Modern          bool   // _meta names a protocol version
	ProtocolVersion string // decoded; of _meta, or params.protocolVersion of initialize
	ClientName      string // clientInfo: self-asserted
	ClientVersion   string
	ElicitationURL  bool   // the client declares elicitation.url
	ProgressToken   []byte // raw token, nil when absent
	TraceParent     string // empty unless well-formed (W3C Trace Context)
	TraceState      string
}

// Direction says who sent a frame; it decides which methods and kinds are legal.
type Direction uint8

const (
	ToServer Direction = iota // from the client
	ToClient                  // from the server
)

// Fault is why a frame, a header or a listing was refused. It is the only
// error type that the functions of this package return.
type Fault struct {
	Code   int    // JSON-RPC error code for the answer: -32700, -32600, -32602, -32020
	Status int    // HTTP status for the answer
	Rule   string // stable identifier of the rule, for instance "duplicate-name"
	Reason string // one line for people; never quotes values of the frame
	Offset int    // byte offset in the frame, -1 when it has none
	ID     []byte // raw id of the frame, if it could be read unambiguously
}

// Error implements error.
func (f *Fault) Error() string { return f.Rule + ": " + f.Reason }
