package credential

import (
	"log/slog"
	"slices"
)

// Header is one header for an upstream server. Its value is secret: formatting
// or logging a Header shows the name alone (invariant I6).
type Header struct {
	Name  string
	Value string `json:"-"`
}

// String leaves the value out, whatever the verb.
func (h Header) String() string { return h.Name + ": [secret]" }

// GoString leaves the value out.
func (h Header) GoString() string { return h.String() }

// LogValue leaves the value out.
func (h Header) LogValue() slog.Value { return slog.StringValue(h.String()) }

// Static gives each server the headers of the configuration, the same for
// every subject. It is immutable and safe for concurrent use.
type Static struct{ headers map[string][]Header }

// NewStatic returns the credentials by server name. It keeps a copy.
func NewStatic(headers map[string][]Header) *Static {
	s := &Static{headers: make(map[string][]Header, len(headers))}
	for server, list := range headers {
		s.headers[server] = slices.Clone(list)
	}
	return s
}

// For returns the headers for a server, in their configured order; none for a
// server that it does not know. The slice is the caller's.
func (s *Static) For(server string) []Header { return slices.Clone(s.headers[server]) }

// String says nothing of what is inside.
func (s *Static) String() string { return "static credentials" }

// GoString says nothing of what is inside.
func (s *Static) GoString() string { return s.String() }
