package credential

import (
	"context"
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

// For implements [Source]: the headers of the server, in their configured order.
func (s *Static) For(_ context.Context, r Request) (Material, error) {
	if r.Name != "" {
		return Material{}, &UnknownError{r.Server, r.Name}
	}
	return Material{Headers: slices.Clone(s.headers[r.Server])}, nil
}

// Renew implements [Source]: there is nothing that could be renewed.
func (*Static) Renew(context.Context, Request, int64) (Material, error) { return Material{}, nil }

// String says nothing of what is inside.
func (s *Static) String() string { return "static credentials" }

// GoString says nothing of what is inside.
func (s *Static) GoString() string { return s.String() }
