package identity

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/egress"
)

// I10: what an issuer's addresses answer, whoever answers there, makes no identity,
// takes no memory and no time, and leads nowhere else.
func TestI10_HostileKeyServers(t *testing.T) {
	elsewhere := recorder(t)
	discovery := "/.well-known/openid-configuration"
	answer := func(s string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, s) }
	}
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	flood := func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 64<<10))
		for range 1 << 30 / len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	}
	hang := func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	begin := func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"keys":[`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}
	for name, c := range map[string]struct {
		path   string
		answer func(a *authority) http.HandlerFunc
	}{
		"keys redirect endlessly":            {"/keys", func(*authority) http.HandlerFunc { return redirect("/keys") }},
		"keys redirect to another host":      {"/keys", func(*authority) http.HandlerFunc { return redirect(elsewhere.URL) }},
		"keys redirect to metadata":          {"/keys", func(*authority) http.HandlerFunc { return redirect("http://169.254.169.254/latest") }},
		"keys redirect to a file":            {"/keys", func(*authority) http.HandlerFunc { return redirect("file:///etc/passwd") }},
		"discovery redirects elsewhere":      {discovery, func(*authority) http.HandlerFunc { return redirect(elsewhere.URL) }},
		"keys of a gigabyte":                 {"/keys", func(*authority) http.HandlerFunc { return flood }},
		"discovery of a gigabyte":            {discovery, func(*authority) http.HandlerFunc { return flood }},
		"keys hang":                          {"/keys", func(*authority) http.HandlerFunc { return hang }},
		"keys begin and hang":                {"/keys", func(*authority) http.HandlerFunc { return begin }},
		"discovery hangs":                    {discovery, func(*authority) http.HandlerFunc { return hang }},
		"keys are garbage":                   {"/keys", func(*authority) http.HandlerFunc { return answer("\x00\xff\x1f\x8b") }},
		"keys are HTML":                      {"/keys", func(*authority) http.HandlerFunc { return answer("<!doctype html><title>Sign in</title>") }},
		"discovery is HTML":                  {discovery, func(*authority) http.HandlerFunc { return answer("<!doctype html>") }},
		"keys are deep":                      {"/keys", func(*authority) http.HandlerFunc { return answer(strings.Repeat("[", 1<<19)) }},
		"keys are none":                      {"/keys", func(*authority) http.HandlerFunc { return http.NotFound }},
		"discovery of another issuer":        {discovery, metadata("https://evil.example", "/keys")},
		"discovery of the issuer in capital": {discovery, func(a *authority) http.HandlerFunc { return metadata(strings.ToUpper(a.URL), "/keys")(a) }},
		"discovery with a slash":             {discovery, func(a *authority) http.HandlerFunc { return metadata(a.URL+"/", "/keys")(a) }},
		"discovery without an issuer":        {discovery, func(a *authority) http.HandlerFunc { return answer(`{"jwks_uri":"` + a.URL + `/keys"}`) }},
		"discovery with two issuers": {discovery, func(a *authority) http.HandlerFunc {
			return answer(fmt.Sprintf(`{"issuer":"https://evil.example","issuer":%q,"jwks_uri":%q}`, a.URL, a.URL+"/keys"))
		}},
		"discovery without keys":       {discovery, func(a *authority) http.HandlerFunc { return answer(fmt.Sprintf(`{"issuer":%q}`, a.URL)) }},
		"keys on another private host": {discovery, func(a *authority) http.HandlerFunc { return metadata(a.URL, elsewhere.URL)(a) }},
		"keys on the host by another name": {discovery, func(a *authority) http.HandlerFunc {
			return metadata(a.URL, strings.Replace(a.URL, "127.0.0.1", "localhost", 1)+"/keys")(a)
		}},
		"keys on the host as 127.1": {discovery, func(a *authority) http.HandlerFunc {
			return metadata(a.URL, strings.Replace(a.URL, "127.0.0.1", "2130706433", 1)+"/keys")(a)
		}},
		"keys on the metadata service": {discovery, func(a *authority) http.HandlerFunc { return metadata(a.URL, "http://169.254.169.254/keys")(a) }},
		"keys on https of the private host": {discovery, func(a *authority) http.HandlerFunc {
			return metadata(a.URL, "https://127.0.0.1:"+elsewhere.URL[strings.LastIndex(elsewhere.URL, ":")+1:])(a)
		}},
		"keys in a file": {discovery, func(a *authority) http.HandlerFunc { return metadata(a.URL, "file:///etc/passwd")(a) }},
		"keys in a path": {discovery, func(a *authority) http.HandlerFunc { return metadata(a.URL, "jwks.json")(a) }},
		"keys by user and password": {discovery, func(a *authority) http.HandlerFunc {
			return metadata(a.URL, strings.Replace(a.URL, "http://", "http://u:p@", 1)+"/keys")(a)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			a := newAuthority(t)
			a.on(c.path, c.answer(a))
			o := a.issuer()
			o.Client = egress.New(egress.Options{Trusted: []string{a.URL}, Timeout: 200 * time.Millisecond})
			p := provers(t, o)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begun := time.Now()
			// Signed by the attacker's key, and by the issuer's: neither counts.
			for _, token := range []string{sign("RS256", rsaOther(), `{"alg":"RS256","kid":"evil"}`, a.claims(nil)), a.token(nil)} {
				proof, err := p.Prove(t.Context(), Evidence{BearerToken: token, Resource: resource})
				if r := (*Refusal)(nil); err == nil || errors.As(err, &r) {
					t.Errorf("%+v, %v; want an error that is no refusal", proof, err)
				}
			}
			runtime.ReadMemStats(&after)
			if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
				t.Errorf("%d MB were allocated", n>>20)
			}
			if d := time.Since(begun); d > 30*time.Second {
				t.Errorf("it took %v", d)
			}
		})
	}
	elsewhere.untouched(t)
}

// metadata answers a discovery document.
func metadata(issuer, keys string) func(*authority) http.HandlerFunc {
	return func(a *authority) http.HandlerFunc {
		if strings.HasPrefix(keys, "/") {
			keys = a.URL + keys
		}
		return func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q}`, issuer, keys)
		}
	}
}

// After good keys came bad answers: the good ones stay.
func TestGarbageDoesNotTakeTheKeysAway(t *testing.T) {
	a := newAuthority(t)
	p := provers(t, a.issuer())
	proven(t, p, a.token(nil))
	a.on("/keys", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") })
	unproven(t, p, Evidence{Resource: resource, BearerToken: sign("RS256", rsaOther(), `{"alg":"RS256","kid":"x"}`, a.claims(nil))}, Invalid)
	proven(t, p, a.token(object{"sub": "grace"}))
}

// I6: the token that the issuer wants is sent to the issuer, and is in no error.
func TestI6_TheIssuersTokenStaysWithIt(t *testing.T) {
	const canary = "canary-token"
	var mu sync.Mutex
	got := map[string]string{}
	note := func(who string, next http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			defer mu.Unlock()
			got[who+r.URL.Path] = r.Header.Get("Authorization")
			next(w, r)
		}
	}
	a, keys := newAuthority(t), newAuthority(t)
	a.on("/.well-known/openid-configuration", note("issuer", metadata(a.URL, keys.URL+"/public")(a)))
	keys.on("/public", note("other", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, jwks(jwk("r1", "", rsaKey()))) }))
	o := a.issuer()
	o.Client = egress.New(egress.Options{Trusted: []string{a.URL, keys.URL}})
	o.Token = func() (string, error) { return canary, nil }
	proven(t, provers(t, o), a.token(nil))
	if got["issuer/.well-known/openid-configuration"] != "Bearer "+canary || got["other/public"] != "" {
		t.Errorf("%v", got)
	}

	a.Close()
	_, err := provers(t, o).Prove(t.Context(), Evidence{BearerToken: a.token(nil), Resource: resource})
	for _, s := range []string{fmt.Sprint(err), fmt.Sprintf("%v", o), fmt.Sprintf("%+v", Evidence{BearerToken: canary})} {
		if strings.Contains(s, canary) {
			t.Errorf("the token is in %s", s)
		}
	}
	o.Token = func() (string, error) { return "", errors.New("no such file") }
	if _, err := provers(t, o).Prove(t.Context(), Evidence{BearerToken: a.token(nil), Resource: resource}); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
}
