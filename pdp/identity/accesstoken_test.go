package identity

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"

	"github.com/mcpermit/mcpermit/pdp/egress"
)

func TestSubjectOfAnAccessToken(t *testing.T) {
	a := newAuthority(t)
	o := a.issuer()
	o.Prefix, o.Type, o.NeedsGrant = "corp:", Agent, true
	o.Claims = []string{"tenant", "amount", "realm_access.roles", "https://corp.example/x.y", "absent", "nothing"}
	proof, err := provers(t, o).Prove(t.Context(), Evidence{Resource: resource, BearerToken: sign("ES256", ecKey(), `{"alg":"ES256","kid":"e1"}`, `{
		"iss": "`+a.URL+`", "sub": "ada", "aud": ["other", "`+resource+`/"], "exp": 9999999999.5, "groups": ["finance", "ops"],
		"scope": "read  write", "act": {"sub": "agent:7", "act": {"sub": "agent:6"}},
		"tenant": {"id": 12345678901234567890.10}, "amount": 0.1, "nothing": null,
		"realm_access": {"roles": ["a"]}, "https://corp.example/x.y": "v"
	}`)})
	want := Proof{NeedsGrant: true, Subject: Subject{
		ID: "corp:ada", Type: Agent, Issuer: a.URL, Groups: []string{"finance", "ops"}, Actor: "agent:7", Scopes: []string{"read", "write"},
		Claims: jsontext.Value(`{"amount":0.1,"https://corp.example/x.y":"v","realm_access.roles":["a"],"tenant":{"id":12345678901234567890.10}}`),
	}}
	if diff := cmp.Diff(want, proof); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}

func TestWhatClaimsMayLookLike(t *testing.T) {
	a := newAuthority(t)
	o := a.issuer()
	o.Groups = "realm_access.roles"
	p := provers(t, o)
	for name, c := range map[string]struct {
		change object
		want   Subject
	}{
		"plain":           {nil, Subject{}},
		"one group":       {object{"realm_access": object{"roles": "a"}}, Subject{Groups: []string{"a"}}},
		"literal name":    {object{"realm_access.roles": []string{"b"}}, Subject{Groups: []string{"b"}}},
		"no groups":       {object{"realm_access": object{}}, Subject{}},
		"scp array":       {object{"scp": []string{"a", "b"}}, Subject{Scopes: []string{"a", "b"}}},
		"scp text":        {object{"scp": "a b"}, Subject{Scopes: []string{"a", "b"}}},
		"scope before":    {object{"scp": "a", "scope": "b"}, Subject{Scopes: []string{"b"}}},
		"no scopes":       {object{"scope": ""}, Subject{}},
		"null actor":      {object{"act": nil}, Subject{}},
		"unicode subject": {object{"sub": "zoë"}, Subject{ID: "zoë"}},
	} {
		c.want.Type, c.want.Issuer = Person, a.URL
		if c.want.ID == "" {
			c.want.ID = "ada"
		}
		got := proven(t, p, a.token(c.change))
		if len(got.Scopes) == 0 {
			got.Scopes = nil
		}
		if diff := cmp.Diff(c.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Who a token is about must be known in full: what cannot be read is not left out.
func TestI10_ClaimsThatAreNotUnderstoodAreRefused(t *testing.T) {
	a := newAuthority(t)
	p := provers(t, a.issuer())
	many := make([]string, maxGroups+1)
	for i := range many {
		many[i] = "g"
	}
	for name, change := range map[string]object{
		"no subject":          {"sub": nil},
		"empty subject":       {"sub": ""},
		"number as subject":   {"sub": 7},
		"list as subject":     {"sub": []string{"ada"}},
		"hidden characters":   {"sub": "ada\u202e"},
		"space at the end":    {"sub": "ada "},
		"long subject":        {"sub": strings.Repeat("a", maxText+1)},
		"groups object":       {"groups": object{"a": 1}},
		"group of a number":   {"groups": []any{"a", 1}},
		"group without text":  {"groups": []string{""}},
		"too many groups":     {"groups": many},
		"groups elsewhere":    {"_claim_names": object{"groups": "src1"}},
		"actor without a sub": {"act": object{"client_id": "x"}},
		"actor as text":       {"act": "agent"},
		"actor's sub":         {"act": object{"sub": 1}},
		"scope as number":     {"scope": 1},
		"scope of quotes":     {"scope": `a "b"`},
		"bound to a key":      {"cnf": object{"jkt": "x"}},
		"bound to nothing":    {"cnf": object{}},
		"bound twice":         {"cnf": object{"jkt": "x", "x5t#S256": "y"}},
	} {
		t.Run(name, func(t *testing.T) {
			unproven(t, p, Evidence{Resource: resource, BearerToken: a.token(change)}, Invalid)
		})
	}
}

// A token of a Kubernetes service account, with the claims that it has there. The
// API server wants a token before it tells its keys.
func TestKubernetesServiceAccount(t *testing.T) {
	a := newAuthority(t)
	a.on("/openid/v1/jwks", func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer pod" {
			http.Error(w, "Unauthorized", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/jwk-set+json")
		_, _ = w.Write([]byte(jwks(jwk("k8s", "RS256", rsaKey()))))
	})
	o := a.issuer()
	o.URL, o.JWKS = "https://kubernetes.default.svc.cluster.local", a.URL+"/openid/v1/jwks"
	o.Token = func() (string, error) { return "pod", nil }
	o.Audiences, o.Type, o.Claims = []string{"mcpermit"}, Workload, []string{"kubernetes.io.namespace", "kubernetes.io.pod.name"}
	o.Groups = "kubernetes.io.serviceaccount.name"
	now := time.Now().Unix()
	token := sign("RS256", rsaKey(), `{"alg":"RS256","kid":"k8s"}`, text64(object{
		"aud": []string{"mcpermit"}, "exp": now + 3607, "iat": now, "nbf": now, "iss": o.URL, "jti": "0c0e8e2c-6d3b-4d0e-9a53-3f3f0a1f2b11",
		"sub": "system:serviceaccount:agents:researcher",
		"kubernetes.io": object{
			"namespace": "agents", "node": object{"name": "node-1", "uid": "3c1e"}, "pod": object{"name": "researcher-0", "uid": "a1"},
			"serviceaccount": object{"name": "researcher", "uid": "b2"}, "warnafter": now + 3600,
		},
	}))
	want := Subject{
		ID: "system:serviceaccount:agents:researcher", Type: Workload, Issuer: o.URL, Groups: []string{"researcher"},
		Claims: jsontext.Value(`{"kubernetes.io.namespace":"agents","kubernetes.io.pod.name":"researcher-0"}`),
	}
	if diff := cmp.Diff(want, proven(t, provers(t, o), token)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	o.Token = nil
	_, err := provers(t, o).Prove(t.Context(), Evidence{BearerToken: token, Resource: resource})
	if r := (*Refusal)(nil); err == nil || errors.As(err, &r) {
		t.Errorf("without the pod's token: %v", err)
	}
}

func TestKeysOfAFile(t *testing.T) {
	a := newAuthority(t)
	o := Issuer{URL: a.URL, JWKS: filepath.Join(t.TempDir(), "jwks.json")}
	if err := os.WriteFile(o.JWKS, []byte(jwks(jwk("r1", "", rsaKey()))), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := proven(t, provers(t, o), a.token(nil)); got.ID != "ada" {
		t.Errorf("%+v", got)
	}
	if err := os.WriteFile(o.JWKS, make([]byte, maxKeyFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := provers(t, o).Prove(t.Context(), Evidence{BearerToken: a.token(nil), Resource: resource}); err == nil {
		t.Error("a file of any length is read")
	}
}

// RFC 8414, for an issuer with a path and without OpenID Connect.
func TestDiscoveryWithoutOpenIDConnect(t *testing.T) {
	a := newAuthority(t)
	issuer := a.URL + "/tenants/7"
	a.on("/.well-known/oauth-authorization-server/tenants/7", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":"` + issuer + `","jwks_uri":"` + a.URL + `/keys"}`))
	})
	o := a.issuer()
	o.URL = issuer
	proven(t, provers(t, o), a.token(object{"iss": issuer}))
}

// A slash at the end is part of the issuer, and not doubled in its address.
func TestAnIssuerThatEndsInASlash(t *testing.T) {
	a := newAuthority(t)
	a.on("/.well-known/openid-configuration", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"issuer":"` + a.URL + `/","jwks_uri":"` + a.URL + `/keys"}`))
	})
	o := a.issuer()
	o.URL += "/"
	p := provers(t, o)
	proven(t, p, a.token(object{"iss": a.URL + "/"}))
	unproven(t, p, Evidence{BearerToken: a.token(nil), Resource: resource}, Invalid)
}

// RFC 8705: the token alone is of no use to who stole it.
func TestI10_ATokenBoundToACertificate(t *testing.T) {
	a := newAuthority(t)
	p := provers(t, a.issuer())
	own, other := []byte("own certificate"), []byte("other certificate")
	sum := digestOf(string(own))
	token := a.token(object{"cnf": object{"x5t#S256": b64(sum[:])}})
	more := a.token(object{"cnf": object{"x5t#S256": b64(sum[:]), "jkt": "a key that nobody has shown"}})
	for range 2 { // from the cache as well
		if _, err := p.Prove(t.Context(), Evidence{BearerToken: token, Resource: resource, PeerCertificates: [][]byte{own}}); err != nil {
			t.Error(err)
		}
		unproven(t, p, Evidence{BearerToken: token, Resource: resource}, Invalid)
		unproven(t, p, Evidence{BearerToken: more, Resource: resource, PeerCertificates: [][]byte{own}}, Invalid)
		unproven(t, p, Evidence{BearerToken: token, Resource: resource, PeerCertificates: [][]byte{other, own}}, Invalid)
	}
}

func TestAnExpiredTokenSaysWhoseItWas(t *testing.T) {
	a := newAuthority(t)
	r := refusalOf(t, provers(t, a.issuer()), Evidence{BearerToken: a.token(object{"exp": time.Now().Unix() - 31}), Resource: resource}, Expired)
	if r.Subject == nil || r.Subject.ID != "ada" {
		t.Errorf("%+v", r)
	}
}

// The cache saves the signature, and nothing else.
func TestI10_WhatIsCachedIsCheckedEachTime(t *testing.T) {
	a := newAuthority(t)
	now := time.Now()
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	sleep := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	o := a.issuer()
	p, err := NewAccessTokens([]Issuer{o}, clock, nil)
	if err != nil {
		t.Fatal(err)
	}
	token := a.token(object{"exp": now.Unix() + 10})
	e := Evidence{BearerToken: token, Resource: resource}
	proven(t, p, token)
	unproven(t, p, Evidence{BearerToken: token, Resource: resource + "2"}, Invalid)
	sleep(39 * time.Second) // within the leeway
	proven(t, p, token)
	sleep(2 * time.Second)
	unproven(t, p, e, Expired)
}

func TestI1_NobodyIsProvenWithoutTheIssuersKeys(t *testing.T) {
	a := newAuthority(t)
	p := provers(t, a.issuer())
	a.on("/keys", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) })
	_, err := p.Prove(t.Context(), Evidence{BearerToken: a.token(nil), Resource: resource})
	if r := (*Refusal)(nil); err == nil || errors.As(err, &r) || !strings.Contains(err.Error(), "503") {
		t.Errorf("%v", err)
	}
}

func TestProversChooseByTheEvidence(t *testing.T) {
	a := newAuthority(t)
	tokens := provers(t, a.issuer())
	certificates, err := NewCertificates([]string{"example.org"}, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	svid := [][]byte{newSVID(t, nil)}
	both := NewProvers(tokens, certificates)
	token := a.token(nil)
	for name, c := range map[string]struct {
		p    *Provers
		e    Evidence
		want string // the subject's id
		code Code
	}{
		"token":                              {both, Evidence{BearerToken: token, Resource: resource}, "ada", 0},
		"token and certificate":              {both, Evidence{BearerToken: token, Resource: resource, PeerCertificates: svid}, "ada", 0},
		"certificate for access tokens":      {both, Evidence{Resource: resource, PeerCertificates: svid}, "spiffe://example.org/agent", 0},
		"certificate for grant tokens":       {both, Evidence{PeerCertificates: svid}, "spiffe://example.org/agent", 0},
		"bad token, good certificate":        {both, Evidence{BearerToken: "x", Resource: resource, PeerCertificates: svid}, "", Invalid},
		"access token where grants are":      {both, Evidence{BearerToken: token}, "", Invalid},
		"... and a certificate":              {both, Evidence{BearerToken: token, PeerCertificates: svid}, "", Invalid},
		"grant token where access tokens":    {both, Evidence{BearerToken: "mcpg_" + strings.Repeat("0", 65), Resource: resource}, "", Invalid},
		"nothing":                            {both, Evidence{}, "", Missing},
		"nothing, for access tokens":         {both, Evidence{Resource: resource}, "", Missing},
		"no certificates configured":         {NewProvers(tokens, nil), Evidence{PeerCertificates: svid}, "", Missing},
		"no issuers configured":              {NewProvers(nil, certificates), Evidence{BearerToken: token, Resource: resource}, "", Invalid},
		"no issuers configured, nothing":     {NewProvers(nil, certificates), Evidence{Resource: resource}, "", Missing},
		"no issuers configured, certificate": {NewProvers(nil, certificates), Evidence{PeerCertificates: svid}, "spiffe://example.org/agent", 0},
		"nothing configured":                 {NewProvers(nil, nil), Evidence{BearerToken: token, Resource: resource, PeerCertificates: svid}, "", Invalid},
	} {
		proof, err := c.p.Prove(t.Context(), c.e)
		if c.want != "" {
			if err != nil || proof.Subject.ID != c.want || proof.NeedsGrant != (proof.Subject.Type == Workload) {
				t.Errorf("%s: %+v, %v", name, proof, err)
			}
			continue
		}
		if r := (*Refusal)(nil); !errors.As(err, &r) || r.Code != c.code || proof.Subject.ID != "" {
			t.Errorf("%s: %+v, %v; want code %d", name, proof, err, c.code)
		}
	}
}

func TestIssuersThatCannotBe(t *testing.T) {
	client := egress.New(egress.Options{})
	for want, o := range map[string]Issuer{
		"url":                    {URL: "accounts.example", Client: client},
		"client":                 {URL: "https://a.example"},
		`algorithms: "HS256"`:    {URL: "https://a.example", Client: client, Algorithms: []string{"RS256", "HS256"}},
		`algorithms: "none"`:     {URL: "https://a.example", Client: client, Algorithms: []string{"none"}},
		`type: want person`:      {URL: "https://a.example", Client: client, Type: "robot"},
		"leeway: want at most 5": {URL: "https://a.example", Client: client, Leeway: time.Hour},
		"audiences":              {URL: "https://a.example", Client: client, Audiences: []string{""}},
	} {
		if _, err := NewAccessTokens([]Issuer{o}, nil, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %s", err, want)
		}
	}
	twice := Issuer{URL: "https://a.example", Client: client}
	if _, err := NewAccessTokens([]Issuer{twice, twice}, nil, nil); err == nil {
		t.Error("one issuer twice")
	}
}

func TestTheCacheOfTokensIsBounded(t *testing.T) {
	var c tokenCache
	now := time.Now()
	for i := range 3 * maxTokensCached {
		c.put(digest{byte(i), byte(i >> 8), byte(i >> 16)}, &accessToken{verifiedAt: now})
	}
	if n := len(c.recent) + len(c.older); n > 2*maxTokensCached {
		t.Errorf("%d tokens", n)
	}
	kept := digest{255, 255, 255}
	c.put(kept, &accessToken{verifiedAt: now})
	if c.get(kept, now.Add(maxTokenAge-1)) == nil || c.get(kept, now.Add(maxTokenAge)) != nil || c.get(kept, now.Add(-1)) != nil {
		t.Error("what was verified holds for less than a minute, or longer")
	}
}

func BenchmarkAccessToken(b *testing.B) {
	a := newAuthority(b)
	p := provers(b, a.issuer())
	for name, token := range map[string]string{
		"RS256": a.token(nil), "ES256": sign("ES256", ecKey(), `{"alg":"ES256","kid":"e1"}`, a.claims(nil)),
	} {
		e := Evidence{BearerToken: token, Resource: resource}
		b.Run(name+"/verified", func(b *testing.B) {
			for b.Loop() {
				p.cache = tokenCache{}
				if _, err := p.Prove(context.Background(), e); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(name+"/cached", func(b *testing.B) {
			for b.Loop() {
				if _, err := p.Prove(context.Background(), e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
