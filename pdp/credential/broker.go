package credential

import (
	"context"
	"fmt"
	"log/slog"
)

// Request asks for what an allowed frame has to carry to its server.
type Request struct {
	Server string
	// Name chooses among the credentials of the server; "" is its default.
	Name string
	// Holder is whose credential it is, where each subject has its own: the owner
	// of the subject, or the subject itself.
	Holder string
	// SubjectToken is the access token by which the subject was proven, for an
	// exchange; "" where it was proven otherwise. Secret.
	SubjectToken string `json:"-"`
}

// String leaves the token out, whatever the verb.
func (r Request) String() string {
	return fmt.Sprintf("credential %q of server %q for %q", r.Name, r.Server, r.Holder)
}

// GoString leaves the token out.
func (r Request) GoString() string { return r.String() }

// LogValue leaves the token out.
func (r Request) LogValue() slog.Value { return slog.StringValue(r.String()) }

// Material is what a frame has to carry. Formatting it shows no value.
type Material struct {
	Headers []Header
	Query   []Header // name and value of the URL's query
	Env     []Header // name and value of the process's environment
	// Name, Holder and Generation say which credential it is, for Renew. Generation
	// is 0 where there is nothing that could be renewed.
	Name       string
	Holder     string
	Generation int64
}

// String says which credential it is, and shows no value.
func (m Material) String() string {
	return fmt.Sprintf("material of credential %q of %q, generation %d", m.Name, m.Holder, m.Generation)
}

// GoString shows no value.
func (m Material) GoString() string { return m.String() }

// LogValue shows no value.
func (m Material) LogValue() slog.Value { return slog.StringValue(m.String()) }

// AccountNeeded is the error of For where the holder has to connect an account
// first, or again.
type AccountNeeded struct{ Server, Name, Holder string }

func (e *AccountNeeded) Error() string {
	return fmt.Sprintf("%s has to connect an account of %s", e.Holder, e.Server)
}

// UnknownError is the error of For where the server has no credential of the name.
type UnknownError struct{ Server, Name string }

func (e *UnknownError) Error() string {
	return fmt.Sprintf("server %s has no credential %q", e.Server, e.Name)
}

// Source gives what frames have to carry. It is safe for concurrent use. Its
// methods return when ctx ends; what they have begun by then, a renewal that others
// wait for as well, goes on.
type Source interface {
	// For returns the material for a frame; that of a server without credentials is
	// empty. The error is an *AccountNeeded, an *UnknownError, or says that the
	// credential could not be had.
	For(ctx context.Context, r Request) (Material, error)
	// Renew is For after the server has refused what is of the generation: renewed,
	// unless somebody has done so since. Material of Generation 0, or of the same,
	// is none that would help.
	Renew(ctx context.Context, r Request, generation int64) (Material, error)
}
