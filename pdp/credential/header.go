package credential

import "log/slog"

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
