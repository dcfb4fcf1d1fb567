package identity

import (
	"strings"
	"testing"
)

// BenchmarkIdentify is of a grant that is in use: what each frame pays.
func BenchmarkIdentify(b *testing.B) {
	a := NewAuthenticator(&memory{}, Options{})
	g, token, err := a.Create(b.Context(), Grant{Subject: Subject{ID: "agent:1"}, Servers: []string{"stripe"}, Delegations: 2})
	if err != nil {
		b.Fatal(err)
	}
	run := func(name, token string) {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := a.Identify(b.Context(), Evidence{BearerToken: token}, "stripe"); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("root", token)
	parent := g.ID
	for _, name := range []string{"below", "below that"} {
		g, token, err := a.Create(b.Context(), Grant{Subject: Subject{ID: "agent:2"}, Parent: parent, Delegations: 1 - strings.Count(name, "that")})
		if err != nil {
			b.Fatal(err)
		}
		parent = g.ID
		run(name, token)
	}
}
