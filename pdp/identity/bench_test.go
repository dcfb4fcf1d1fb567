package identity

import "testing"

// BenchmarkIdentify is of a grant that is in use: what each frame pays.
func BenchmarkIdentify(b *testing.B) {
	a := NewAuthenticator(&memory{}, Options{})
	_, token, err := a.Create(b.Context(), Grant{Subject: Subject{ID: "agent:1"}, Servers: []string{"stripe"}})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("root", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := a.Identify(b.Context(), Evidence{BearerToken: token}, "stripe"); err != nil {
				b.Fatal(err)
			}
		}
	})
}
