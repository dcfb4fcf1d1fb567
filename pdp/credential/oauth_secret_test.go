package credential

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// Whatever goes wrong, and however what the broker has is formatted: no token, code,
// verifier or client secret is in it. The authorization server of the test repeats all
// that it is sent in its errors.
func TestI6_NoSecretOfOAuthIsShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, key, _ := ed25519.GenerateKey(rand.Reader)
		g := gateway()
		u := Upstream{URL: theServer, Default: "own", Credentials: map[string]Brokered{
			"own":   {Account: &Account{}},
			"trade": {TokenExchange: &g}, "own-token": {ClientCredentials: &g},
			"signed": {JWTBearer: &JWTBearer{TokenURL: theIssuer + "/token", Key: key, KeyID: "k"}},
		}}
		r := newReplicas(t, 1, newAuthServer(t), u)
		b := r.brokers[0]
		var seen bytes.Buffer
		log := slog.New(slog.NewJSONHandler(&seen, nil))
		see := func(values ...any) {
			for _, v := range values {
				fmt.Fprintf(&seen, "%v %+v %#v %s\n", v, v, v, v)
				log.Info("seen", "value", v)
			}
		}
		const subject = "subject-c4n4ry"
		r.auth.secrets = append(r.auth.secrets, subject, base64.StdEncoding.EncodeToString(key))
		requests := []Request{
			{Server: "mcp", Holder: "ada"},
			{Server: "mcp", Name: "trade", Holder: "ada", SubjectToken: subject},
			{Server: "mcp", Name: "own-token", Holder: "ada"},
			{Server: "mcp", Name: "signed", Holder: "ada"},
		}
		failures := 0
		everything := func() {
			for _, request := range requests {
				m, err := b.For(t.Context(), request)
				see(request, &request, m, &m, err)
				n, err2 := b.Renew(t.Context(), request, m.Generation)
				see(n, err2)
				if err != nil || err2 != nil {
					failures++
				}
			}
		}
		authorization := func(spoil func(url.Values)) {
			o, err := b.Offer(t.Context(), adas)
			see(o, err)
			address, err := b.Begin(t.Context(), adas, "ada", o.Terms())
			r.must(err)
			answer := r.auth.authorize(address)
			spoil(answer)
			a, err := b.Finish(t.Context(), "ada", answer)
			see(a, err)
			if err == nil {
				err = a.Connect(t.Context())
				see(a, err)
			}
			if err != nil {
				failures++
			}
		}
		authorization(func(q url.Values) { q.Set("iss", "x") })
		authorization(func(url.Values) {})
		everything()
		for _, answer := range []func(http.ResponseWriter, url.Values) bool{
			func(w http.ResponseWriter, form url.Values) bool { // repeats what it was sent, as an error and as none
				w.WriteHeader(http.StatusUnauthorized)
				fmt.Fprintf(w, `{"error":%q,"error_description":%q}`, form.Encode(), form.Encode())
				return true
			},
			func(w http.ResponseWriter, form url.Values) bool {
				w.WriteHeader(http.StatusInternalServerError)
				_, _ = w.Write([]byte(form.Encode()))
				return true
			},
			func(w http.ResponseWriter, form url.Values) bool {
				_, _ = w.Write([]byte(`{"access_token":` + form.Encode()))
				return true
			},
			func(w http.ResponseWriter, form url.Values) bool {
				fmt.Fprintf(w, `{"access_token":%q,"token_type":%q}`, form.Encode(), form.Encode())
				return true
			},
			func(w http.ResponseWriter, form url.Values) bool {
				w.Header().Set("Location", "https://x.example/?"+form.Encode())
				w.WriteHeader(http.StatusFound)
				return true
			},
		} {
			r.auth.set(func() { r.auth.answer = answer })
			time.Sleep(2 * time.Hour)
			everything()
			authorization(func(url.Values) {})
		}
		r.auth.set(func() {
			r.auth.answer = nil
			for token := range r.auth.refresh {
				r.auth.used[token] = true
			}
		})
		time.Sleep(2 * time.Hour)
		everything()
		r.vaults[0].fault = func(string) error { return errors.New("the vault is away") }
		everything()
		if failures < 20 {
			t.Errorf("only %d things went wrong", failures)
		}

		see(g, &g, u, *u.Credentials["signed"].JWTBearer, Account{ClientSecret: r.auth.secrets[0]}, tokens{AccessToken: r.auth.secrets[0], RefreshToken: r.auth.secrets[0]})
		see(flow{Verifier: r.auth.secrets[0]}, registration{ClientSecret: r.auth.secrets[0]}, held{tokens: tokens{AccessToken: r.auth.secrets[0]}})
		see(b)
		for _, form := range r.auth.asked {
			for _, name := range []string{"code", "code_verifier", "refresh_token", "assertion", "client_secret"} {
				if v := form.Get(name); v != "" {
					r.auth.secrets = append(r.auth.secrets, v, url.QueryEscape(v))
				}
			}
		}
		shown := seen.String() + r.log.String()
		if !strings.Contains(r.log.String(), "could not be renewed") {
			t.Error("the log says nothing of what went wrong")
		}
		slices.Sort(r.auth.secrets)
		for _, secret := range slices.Compact(r.auth.secrets) {
			if strings.Contains(shown, secret) {
				i := strings.Index(shown, secret)
				t.Errorf("%q is shown: %q", secret, shown[max(0, i-200):i+len(secret)])
			}
		}
	})
}
