package policy

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Input is the document that Rego sees as `input` (rego/schemas/input.json).
// It is turned into an ast.Value without going through a Go map: Arguments are
// read from the frame's bytes with exact decimals.
type Input struct {
	Subject   Subject
	Grant     *Grant // nil: null in Rego
	Client    Client
	Server    Server
	Method    string
	Tool      *Tool  // for tools/*
	Resource  string // raw URI, for resources/*; normalised here
	Prompt    string // for prompts/*
	Arguments []byte // raw JSON object; nil while listing or when absent
	Context   Context
}

// Subject is on whose behalf the frame was sent.
type Subject struct {
	ID     string
	Type   string // "person", "agent" or "workload"
	Groups []string
	// Issuer has vouched for the subject; "" for one that a grant names.
	Issuer string
	// Actor acts on behalf of the subject; "" where it acts itself.
	Actor  string
	Scopes []string       // of its access token
	Claims jsontext.Value // raw JSON object; nil for none
}

// Grant is the permission under which the subject acts.
type Grant struct {
	ID        string
	Labels    map[string]string
	Servers   []string
	Tools     []string
	Classes   []string
	Policies  []string  // attachments, of the grants above too
	Parent    string    // id of the grant that it was made from; "" for none
	ExpiresAt time.Time // zero: never
}

// Client is self-asserted; never an identity.
type Client struct{ Name, Version string }

// Server is the upstream that the frame is for.
type Server struct {
	Name    string
	Labels  map[string]string
	Trusted bool
}

// Tool is what the catalog knows of the tool.
type Tool struct {
	Name        string
	Class       string // "unknown" until the catalog says otherwise
	Risk        string
	Traits      []string
	Pinned      string // "match", "drift" or "unknown"
	Annotations []byte // raw JSON object of the listed annotations; nil when absent
}

// Context is everything about the frame that is not its content.
type Context struct {
	Time            time.Time
	Transport       string // "http", "stdio" or "envoy"
	ProtocolVersion string
	Session         string
	Peer            string
	PEP             string
	Direction       string // "to_server" or "to_client"
}
