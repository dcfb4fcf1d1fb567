package credential

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBearerChallenge(t *testing.T) {
	for name, c := range map[string]struct {
		fields []string
		want   map[string]string // nil: there is none
	}{
		"as servers send it":           {[]string{`Bearer resource_metadata="https://a/b", scope="x y"`}, map[string]string{"resource_metadata": "https://a/b", "scope": "x y"}},
		"alone":                        {[]string{`Bearer`}, map[string]string{}},
		"any case":                     {[]string{`bEARER Resource_Metadata="u"`}, map[string]string{"resource_metadata": "u"}},
		"behind another":               {[]string{`Basic realm="a, Bearer resource_metadata=evil", Bearer resource_metadata="u"`}, map[string]string{"resource_metadata": "u"}},
		"before another":               {[]string{`Bearer resource_metadata="u", DPoP algs="ES256"`}, map[string]string{"resource_metadata": "u"}},
		"behind a token68":             {[]string{`Negotiate YII=, Bearer resource_metadata="u"`}, map[string]string{"resource_metadata": "u"}},
		"behind a bare token68":        {[]string{`NTLM TlRMTVNTUAAC, Bearer resource_metadata="u"`}, map[string]string{"resource_metadata": "u"}},
		"behind a scheme alone":        {[]string{`Negotiate, Bearer resource_metadata="u"`}, map[string]string{"resource_metadata": "u"}},
		"in another field":             {[]string{`Basic realm="a"`, `Bearer resource_metadata="u"`}, map[string]string{"resource_metadata": "u"}},
		"the first of two":             {[]string{`Bearer resource_metadata="u"`, `Bearer resource_metadata="v"`}, map[string]string{"resource_metadata": "u"}},
		"escapes":                      {[]string{`Bearer error_description="a \"b\" \\ c", resource_metadata="u"`}, map[string]string{"error_description": `a "b" \ c`, "resource_metadata": "u"}},
		"space around =":               {[]string{`Bearer resource_metadata = "u" , error=invalid_token`}, map[string]string{"resource_metadata": "u", "error": "invalid_token"}},
		"empty elements":               {[]string{`, ,Bearer resource_metadata="u",, error="e",`}, map[string]string{"resource_metadata": "u", "error": "e"}},
		"a name twice":                 {[]string{`Bearer resource_metadata="u", resource_metadata="v"`}, nil},
		"never closed":                 {[]string{`Bearer resource_metadata="u`}, nil},
		"no value, which is a token68": {[]string{`Bearer resource_metadata=, error="e"`}, map[string]string{"error": "e"}},
		"no value":                     {[]string{`Bearer error="e", resource_metadata=`}, nil},
		"inside another's parameters":  {[]string{`Digest realm="Bearer", nonce="resource_metadata=u"`}, nil},
		"nothing":                      {nil, nil},
		"rubbish":                      {[]string{`"""===,,,;;;`, "\x00Bearer"}, nil},
	} {
		got, ok := bearerChallenge(c.fields)
		if ok != (c.want != nil) {
			t.Errorf("%s: found %t", name, ok)
			continue
		}
		if diff := cmp.Diff(c.want, got.params); ok && diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add(`Basic realm="a", Bearer resource_metadata="https://a/b", scope="x y", Negotiate abc==`)
	f.Fuzz(func(t *testing.T, field string) {
		for _, c := range parseChallenges(field) {
			if c.scheme == "" {
				t.Errorf("a challenge without a scheme in %q", field)
			}
			for name := range c.params {
				if name == "" {
					t.Errorf("a parameter without a name in %q", field)
				}
			}
		}
	})
}
