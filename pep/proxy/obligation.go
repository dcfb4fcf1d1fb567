package proxy

import (
	"context"
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/mcpermit/mcpermit/pep"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// oblige carries out on a request to the upstream what decisions want added to
// its header and its URL.
func (u *upstream) oblige(r *http.Request, duties []*v1.Obligation) {
	added := false
	for name, value := range pep.Headers(duties) {
		r.Header.Set(name, value)
		added = true
	}
	if query, changed := withQuery(u.URL.RawQuery, pep.Query(duties)); changed {
		at := *u.URL
		at.RawQuery = query
		r.URL, added = &at, true
	}
	if added || EnvironmentFrom(r.Context()) != nil {
		u.credentialed.Store(true)
	}
}

// withQuery adds names and values to a raw query. What is there stays as it is,
// but for what has one of the names.
func withQuery(raw string, add iter.Seq2[string, string]) (query string, changed bool) {
	for name, value := range add {
		var kept []string
		for pair := range strings.SplitSeq(raw, "&") {
			if pair != "" && !isNamed(pair, name) {
				kept = append(kept, pair)
			}
		}
		raw, changed = strings.Join(append(kept, escaped(name)+"="+escaped(value)), "&"), true
	}
	return raw, changed
}

// isNamed says whether a pair of a raw query has the name for some server.
func isNamed(pair, name string) bool {
	key, _, _ := strings.Cut(pair, "=")
	plain, err := url.QueryUnescape(key)
	return err == nil && plain == name
}

// escaped is text in a query, as every server reads it: a blank as %20.
func escaped(s string) string { return strings.ReplaceAll(url.QueryEscape(s), "+", "%20") }

type (
	subjectKey     struct{}
	environmentKey struct{}
)

// SubjectFrom returns the id of the subject on whose behalf a request to an
// upstream is made, "" before one is known.
func SubjectFrom(ctx context.Context) string {
	id, _ := ctx.Value(subjectKey{}).(string)
	return id
}

// EnvironmentFrom returns what the process has to have in its environment that
// serves a request, as NAME=value; nil where a decision adds nothing. The values
// are secret.
func EnvironmentFrom(ctx context.Context) []string {
	env, _ := ctx.Value(environmentKey{}).([]string)
	return env
}

func withEnvironment(ctx context.Context, duties []*v1.Obligation) context.Context {
	var env []string
	for name, value := range pep.Environment(duties) {
		env = append(env, name+"="+value)
	}
	if env == nil {
		return ctx
	}
	return context.WithValue(ctx, environmentKey{}, env)
}
