package mcp

// Direction says who sent a frame; it decides which methods and kinds are
// legal, and which of the reader's rules hold for content that the gateway
// only passes on.
type Direction uint8

const (
	ToServer Direction = iota // from the client
	ToClient                  // from the server
)

// Limits bound what Read looks at. A zero field means the default of the
// frame's direction.
type Limits struct {
	Bytes  int // length of the whole frame; default 1 MiB to the server, 16 MiB to the client
	Depth  int // nesting of objects and arrays; default 64 to the server, 512 to the client
	Values int // number of JSON values, names not counted; default 10,000 to the server, 1,000,000 to the client
	// ExactNumbers accepts numbers that float64 would change. Only for servers
	// behind which every reader is known to be exact. Length and range of a
	// number stay bounded.
	ExactNumbers bool
}

// forDirection fills in the defaults.
func (l Limits) forDirection(dir Direction) Limits {
	def := Limits{Bytes: 1 << 20, Depth: 64, Values: 10_000}
	if dir == ToClient {
		def = Limits{Bytes: 16 << 20, Depth: 512, Values: 1_000_000}
	}
	if l.Bytes <= 0 {
		l.Bytes = def.Bytes
	}
	if l.Depth <= 0 {
		l.Depth = def.Depth
	}
	if l.Values <= 0 {
		l.Values = def.Values
	}
	return l
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
// change them. Frames come from Read; one that was put together by hand works
// with everything but the functions that replace a token.
type Frame struct {
	Bytes  []byte // the message exactly as it arrived
	Kind   Kind
	ID     []byte // raw JSON token (string or integer); nil for a notification, and for a server's error that answers no request
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
	RequestState   []byte // raw params.requestState, or result.requestState (2026-07-28)

	RequestID     []byte // raw params.requestId of notifications/cancelled
	ResultType    string // result.resultType, decoded; empty when absent
	InputRequests []byte // raw result.inputRequests (2026-07-28)

	// SubscriptionID is the raw id of the subscriptions/listen request whose
	// stream a notification or the final result belongs to (2026-07-28).
	SubscriptionID []byte
	// What subscriptions/listen asks for, or the server acknowledges: resource
	// URIs, and task ids of the tasks extension. Decoded; nil when absent.
	ResourceURIs []string
	TaskIDs      []string

	idAt, requestIDAt, tokenAt, subscriptionAt int // offsets of the tokens that can be replaced; 0 when absent
}

// Meta is what Read takes out of params._meta, and, for initialize, out of the
// corresponding members of params.
type Meta struct {
	Modern          bool   // _meta names a protocol version
	ProtocolVersion string // decoded; of _meta, or params.protocolVersion of initialize
	ClientName      string // clientInfo: self-asserted
	ClientVersion   string
	ElicitationURL  bool   // the client declares elicitation.url
	ProgressToken   []byte // raw token, nil when absent; of notifications/progress too
	TraceParent     string // empty unless well-formed (W3C Trace Context)
	TraceState      string

	ClientInfo   []byte // raw clientInfo object, nil when absent
	Capabilities []byte // raw client capabilities object, nil when absent
}
