package stdio

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"log/slog"
	"slices"

	"github.com/mcpermit/mcpermit/pep/proxy"
)

// environment is what a process has to have in its environment beside what is
// configured, as NAME=value: credentials that come with the decisions on frames. It
// is kept nowhere but in the process, and, to blot it out, where that one's stderr
// is read. (I6)
type environment []string

// digest tells environments apart without keeping them; zero is the empty one.
type digest [sha256.Size]byte

// String keeps a digest out of logs: the values may be few enough to try.
func (digest) String() string { return "environment" }

// String shows nothing.
func (environment) String() string { return "environment" }

// GoString shows nothing.
func (environment) GoString() string { return "environment" }

// LogValue shows nothing.
func (environment) LogValue() slog.Value { return slog.StringValue("environment") }

// digest is the same for the same variables in any order.
func (e environment) digest() digest {
	if len(e) == 0 {
		return digest{}
	}
	h := sha256.New()
	for _, entry := range slices.Sorted(slices.Values(e)) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(entry))))
		h.Write([]byte(entry))
	}
	return digest(h.Sum(nil))
}

// serves says whether a frame that has to run in this environment may go to the
// process. One that asks for none may go to any of its session's.
func (l *link) serves(e environment) bool { return len(e) == 0 || e.digest() == l.environment }

type environmentKey struct{}

// WithEnvironment says what the process has to have in its environment that serves
// a request, as NAME=value, for a [Child] that is not used by a proxy; what the
// proxy says is known without it.
func WithEnvironment(ctx context.Context, env []string) context.Context {
	return context.WithValue(ctx, environmentKey{}, environment(env))
}

func environmentOf(ctx context.Context) environment {
	if e, ok := ctx.Value(environmentKey{}).(environment); ok {
		return e
	}
	return proxy.EnvironmentFrom(ctx)
}
