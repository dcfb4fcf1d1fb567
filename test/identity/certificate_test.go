package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// authority signs certificates for one trust domain.
type authority struct {
	key    *ecdsa.PrivateKey
	cert   *x509.Certificate
	serial int64
	dir    string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.key = newKey(t)
	self := &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	a.cert = a.sign(t, self, self, a.key)
	a.write(t, "ca.pem", "CERTIFICATE", a.cert.Raw)
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (a *authority) sign(t *testing.T, c, parent *x509.Certificate, of *ecdsa.PrivateKey) *x509.Certificate {
	t.Helper()
	a.serial++
	c.SerialNumber, c.NotBefore, c.NotAfter = big.NewInt(a.serial), time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, of.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) (path string) {
	t.Helper()
	path = filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// server writes the certificate of the gateway on this machine.
func (a *authority) server(t *testing.T) (cert, key string) {
	t.Helper()
	k := newKey(t)
	c := a.sign(t, &x509.Certificate{IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}, a.cert, k)
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return a.write(t, "server.pem", "CERTIFICATE", c.Raw), a.write(t, "server-key.pem", "PRIVATE KEY", der)
}

// client has an X.509-SVID, or no certificate for "".
func (a *authority) client(t *testing.T, id string) (*http.Client, *x509.Certificate) {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AddCert(a.cert)
	config := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	var leaf *x509.Certificate
	if id != "" {
		uri, err := url.Parse(id)
		if err != nil {
			t.Fatal(err)
		}
		k := newKey(t)
		leaf = a.sign(t, &x509.Certificate{
			URIs: []*url.URL{uri}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		}, a.cert, k)
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: k}}
	}
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: config}, Timeout: 20 * time.Second}
	t.Cleanup(c.CloseIdleConnections)
	return c, leaf
}

// theBalance is part of what the demo answers.
const theBalance = "Balance: 1,284.00"

// balance calls a tool and returns the status and what was answered.
func balance(t *testing.T, c *http.Client, endpoint, token string) (status int, answer string) {
	t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_balance","arguments":{}}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// demo runs the upstream and returns the configuration of a gateway before it.
func demo(t *testing.T) gateway.Config {
	t.Helper()
	upstream := gateway.FreeAddress(t)
	gateway.Run(t, gateway.Program(t, "mcpermit-demo"), "-listen", upstream)
	return gateway.Config{Policy: "policy", Servers: map[string]any{"payments": map[string]any{"url": "http://" + upstream + "/mcp"}}}
}

func TestI10_WorkloadsConnectWithTheirCertificates(t *testing.T) {
	a, foreign := newAuthority(t), newAuthority(t)
	cert, key := a.server(t)
	g := gateway.Prepare(t, demo(t))
	g.Configure(t, map[string]any{
		"tls":          map[string]any{"cert": cert, "key": key, "client_ca": filepath.Join(a.dir, "ca.pem")},
		"certificates": map[string]any{"trust_domains": []string{"example.org"}, "grants": "required"},
	})
	g.Up(t)
	endpoint := strings.Replace(g.Endpoint("payments"), "http:", "https:", 1)

	const id = "spiffe://example.org/agent/1"
	agent, leaf := a.client(t, id)
	if status, answer := balance(t, agent, endpoint, ""); status != http.StatusForbidden {
		t.Errorf("a workload that holds no grant: %d %s", status, answer)
	}
	held := g.CLI(t, "grants", "create", "--held", "--subject", id, "--type", "workload", "--group", "staff", "--server", "payments", "-o", "json")
	var grant struct{ ID, Token string }
	if err := json.Unmarshal(held, &grant); err != nil || grant.Token != "" {
		t.Fatalf("%s: %v", held, err)
	}
	await(t, theBalance, func() (int, string) { return balance(t, agent, endpoint, "") })

	other, _ := a.client(t, "spiffe://example.org/agent/2")
	elsewhere, _ := a.client(t, "spiffe://example.com/agent/1")
	nobody, _ := a.client(t, "")
	for name, c := range map[string]struct {
		client *http.Client
		want   int
	}{
		"another workload":     {other, http.StatusForbidden},
		"another trust domain": {elsewhere, http.StatusUnauthorized},
		"no certificate":       {nobody, http.StatusUnauthorized},
	} {
		if status, answer := balance(t, c.client, endpoint, ""); status != c.want {
			t.Errorf("%s: %d %s, want %d", name, status, answer, c.want)
		}
	}
	forger, _ := foreign.client(t, id)
	forger.Transport.(*http.Transport).TLSClientConfig.RootCAs.AddCert(a.cert)
	if res, err := forger.Get(endpoint); err == nil {
		res.Body.Close()
		t.Errorf("a certificate of a foreign authority: %d", res.StatusCode)
	}

	// A token that is bound to the certificate is of no use without it.
	sum := sha256.Sum256(leaf.Raw)
	bound := g.CLI(t, "grants", "create", "--subject", "bot", "--group", "staff", "--server", "payments", "--bound-to", "sha256:"+hex.EncodeToString(sum[:]), "-o", "json")
	var token struct{ Token string }
	if err := json.Unmarshal(bound, &token); err != nil {
		t.Fatal(err)
	}
	if status, answer := balance(t, agent, endpoint, token.Token); status != http.StatusOK || !strings.Contains(answer, theBalance) {
		t.Errorf("with its certificate: %d %s", status, answer)
	}
	for name, c := range map[string]*http.Client{"another's": other, "no": nobody} {
		if status, answer := balance(t, c, endpoint, token.Token); status != http.StatusUnauthorized {
			t.Errorf("with %s certificate: %d %s", name, status, answer)
		}
	}

	g.CLI(t, "grants", "revoke", grant.ID)
	if status, answer := balance(t, agent, endpoint, ""); status != http.StatusForbidden {
		t.Errorf("I9: after its grant was revoked: %d %s", status, answer)
	}
}

// await repeats what a grant that was just made allows: that there was none may be
// remembered for a moment.
func await(t *testing.T, want string, do func() (int, string)) {
	t.Helper()
	var status int
	var answer string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if status, answer = do(); strings.Contains(answer, want) {
			return
		}
	}
	t.Fatalf("%d %s, want %q", status, answer, want)
}

// A cluster's API server is an issuer as any other; its keys may lie in a file.
func TestI10_KubernetesServiceAccounts(t *testing.T) {
	key := newKey(t)
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: key, KeyID: "k1"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k1", Algorithm: "ES256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, keys, 0o600); err != nil {
		t.Fatal(err)
	}
	const issuer, account = "https://kubernetes.default.svc.cluster.local", "system:serviceaccount:payments:bot"
	g := gateway.Prepare(t, demo(t))
	g.Configure(t, map[string]any{"oauth": map[string]any{
		"url": g.URL + "/oauth",
		"issuers": []any{map[string]any{
			"url": issuer, "jwks": file, "type": "workload", "prefix": "k8s:", "audiences": []string{"mcpermit"}, "claims": []string{"kubernetes.io"}, "grants": "required",
		}},
	}})
	g.Up(t)
	endpoint := g.URL + "/oauth/mcp/payments"
	token := func(audience string) string {
		now := time.Now()
		raw, err := jwt.Signed(signer).Claims(map[string]any{
			"iss": issuer, "sub": account, "aud": []string{audience}, "iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(time.Hour).Unix(), "jti": "1",
			"kubernetes.io": map[string]any{"namespace": "payments", "serviceaccount": map[string]any{"name": "bot", "uid": "u"}, "pod": map[string]any{"name": "bot-1", "uid": "p"}},
		}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	if status, answer := balance(t, http.DefaultClient, endpoint, token("https://kubernetes.default.svc")); status != http.StatusUnauthorized {
		t.Errorf("a token for the API server: %d %s", status, answer)
	}
	g.CLI(t, "grants", "create", "--held", "--subject", "k8s:"+account, "--type", "workload", "--group", "staff", "--server", "payments")
	status, answer := balance(t, http.DefaultClient, endpoint, token("mcpermit"))
	if status != http.StatusOK || !strings.Contains(answer, theBalance) {
		t.Errorf("a token for the gateway: %d %s", status, answer)
	}
}
