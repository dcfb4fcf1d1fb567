package spoofs

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/mcpermit/mcpermit/test/attacks/frames"
	"github.com/mcpermit/mcpermit/test/gateway"
)

const (
	holder = "victim" // whose tokens there are, at both listeners
	issuer = "https://issuer.example"
)

// Stage is a gateway with a listener for grant tokens and one for access tokens,
// which takes client certificates for identities as well, before a server that
// notes what it gets.
type Stage struct {
	*gateway.Gateway
	// Answers says that something stands before the enforcement point which refuses
	// by itself some of what is no HTTP: nobody is asked then, and nothing is on
	// record.
	Answers bool

	listeners []*Listener
	trail     *gateway.Trail
	upstream  *upstream
}

// Listener is a place where one kind of token is good.
type Listener struct {
	Name, Path string

	token, other, certificate string
}

func (l *Listener) basic() string {
	return base64.StdEncoding.EncodeToString([]byte("victim:" + l.token))
}

// NewStage has start start the gateway, with the policy of the directory.
func NewStage(t *testing.T, policy string, start func(*gateway.Gateway)) *Stage {
	t.Helper()
	up := newUpstream(t)
	g := gateway.Prepare(t, gateway.Config{
		Policy:  policy,
		Servers: map[string]any{"payments": map[string]any{"url": up.URL, "headers": map[string]string{"X-Api-Key": apiKey}}},
		Extra:   map[string]any{"audit": map[string]any{"fsync": "never"}},
	})
	key := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	keys := filepath.Join(filepath.Dir(g.ConfigFile), "keys.json")
	writeKeys(t, keys, key)
	g.Configure(t, map[string]any{
		"oauth":        map[string]any{"url": g.URL + "/oauth", "issuers": []any{map[string]any{"url": issuer, "jwks": keys}}},
		"certificates": map[string]any{"trust_domains": []string{"mesh.example"}},
	})
	start(g)
	_, grant := g.Grant(t, holder, "payments")
	access, certificate := accessToken(t, key, g.URL+"/oauth/mcp/payments"), unverified(t, key)
	s := &Stage{Gateway: g, upstream: up, listeners: []*Listener{
		{Name: "grant tokens", Path: "/mcp/payments/", token: grant, other: access, certificate: certificate},
		{Name: "access tokens", Path: "/oauth/mcp/payments", token: access, other: grant, certificate: certificate},
	}}
	s.trail = g.Trail(t)
	return s
}

// Play sends all spoofs to both listeners.
func (s *Stage) Play(t *testing.T) {
	for _, l := range s.listeners {
		t.Run(l.Name, func(t *testing.T) {
			for _, spoof := range Beside {
				t.Run(spoof.Name, func(t *testing.T) { s.beside(t, l, &spoof) })
			}
			for _, spoof := range Nobody {
				t.Run(spoof.Name, func(t *testing.T) { s.nobody(t, l, &spoof) })
			}
		})
	}
}

// perform sends a spoof and returns the answer, and what is on record of it.
func (s *Stage) perform(t *testing.T, l *Listener, spoof *Spoof) (answer string, records []gateway.Record) {
	t.Helper()
	host := strings.TrimPrefix(s.URL, "http://")
	answer = string(frames.Exchange(t, host, spoof.request(host, l), 2*time.Second, false))
	for _, r := range s.trail.Next(t) {
		if r.Frame.Method != "tools/list" { // the gateway's own
			records = append(records, r)
		}
	}
	return answer, records
}

// nobody expects a refusal that names nobody.
func (s *Stage) nobody(t *testing.T, l *Listener, spoof *Spoof) {
	answer, records := s.perform(t, l, spoof)
	if got := s.upstream.take(); len(got) > 0 {
		t.Errorf("REACHED THE SERVER: %q", got)
	}
	if !strings.HasPrefix(answer, "HTTP/1.1 4") {
		t.Errorf("answered with %.300q", answer)
	}
	if len(records) != 1 && !(s.Answers && len(records) == 0) {
		t.Fatalf("I5: %d records: %+v; answer %.300q", len(records), records, answer)
	}
	for _, r := range records {
		if r.Effect != "deny" || r.Subject != nil || r.Grant != "" {
			t.Errorf("I10: on record: %+v", r)
		}
	}
}

// beside expects that the call is the holder's, and that the server gets what it
// would get without the claims.
func (s *Stage) beside(t *testing.T, l *Listener, spoof *Spoof) {
	answer, records := s.perform(t, l, spoof)
	got := s.upstream.take()
	if s.Answers && len(records)+len(got) == 0 && strings.HasPrefix(answer, "HTTP/1.1 4") {
		return
	}
	if len(records) != 1 {
		t.Fatalf("I5: %d records: %+v; answer %.300q", len(records), records, answer)
	}
	r := records[0]
	if r.Subject == nil && r.Effect == "deny" && len(got) == 0 {
		if spoof.Name == Beside[0].Name {
			t.Errorf("the holder is refused: %+v", r)
		}
		return // to take the token for none is no harm
	}
	if r.Effect != "allow" || r.Subject == nil || r.Subject.ID != holder {
		t.Errorf("I10: on record: %+v %+v", r, r.Subject)
	}
	if len(got) != 1 {
		t.Fatalf("%d calls at the server; answer %.300q", len(got), answer)
	}
	if key := got[0]["X-Api-Key"]; !slices.Equal(key, []string{apiKey}) {
		t.Errorf("the server got the credential %q", key)
	}
	for name, values := range got[0] {
		for _, v := range values {
			if strings.Contains(v, "spoofed") || strings.Contains(v, l.token) || name == "Authorization" || name == "Cookie" {
				t.Errorf("the server got %s: %q", name, v)
			}
		}
	}
}

const apiKey = "of-the-gateway"

// upstream answers every call, and notes the headers of each.
type upstream struct {
	*httptest.Server
	mu    sync.Mutex
	calls []http.Header
}

func newUpstream(t *testing.T) *upstream {
	u := &upstream{}
	u.Server = httptest.NewServer(http.HandlerFunc(u.serve))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var m struct {
		ID     json.RawMessage
		Method string
	}
	_ = json.Unmarshal(body, &m)
	result := `{"tools":[{"name":"get_balance","inputSchema":{"type":"object"}}]}`
	if m.Method != "tools/list" {
		u.mu.Lock()
		u.calls = append(u.calls, r.Header)
		u.mu.Unlock()
		result = `{"content":[{"type":"text","text":"done"}]}`
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, m.ID, result)
}

// take returns the headers of all but listings since it was last called.
func (u *upstream) take() []http.Header {
	u.mu.Lock()
	defer u.mu.Unlock()
	calls := u.calls
	u.calls = nil
	return calls
}

func writeKeys(t *testing.T, file string, key ed25519.PrivateKey) {
	t.Helper()
	b, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "1", Algorithm: "EdDSA", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// accessToken is the holder's, for the audience (RFC 9068).
func accessToken(t *testing.T, key ed25519.PrivateKey, audience string) string {
	t.Helper()
	options := (&jose.SignerOptions{}).WithType("at+jwt").WithHeader("kid", "1")
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.EdDSA, Key: key}, options)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: issuer, Subject: holder, Audience: jwt.Audience{audience}, ID: "1",
		IssuedAt: jwt.NewNumericDate(now), Expiry: jwt.NewNumericDate(now.Add(time.Hour)),
	}).Claims(map[string]any{"client_id": "test"}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// unverified is a certificate for a workload of the trust domain, by nobody, in
// URL-encoded PEM.
func unverified(t *testing.T, key ed25519.PrivateKey) string {
	t.Helper()
	id := &url.URL{Scheme: "spiffe", Host: "mesh.example", Path: "/spoofed"}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), URIs: []*url.URL{id}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}
