package envoy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
	"github.com/mcpermit/mcpermit/test/gateway"
)

// authority signs certificates for one test.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	file string // its certificate
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key := newKey(t)
	der := sign(t, template, template, key.Public(), key)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert: cert, key: key, file: pemFile(t, "CERTIFICATE", der)}
}

// pair is a certificate with its key, in memory and in files.
type pair struct {
	tls       tls.Certificate
	cert, key string
}

// issue signs a certificate for a DNS name or, where it has a scheme, a URI.
func (a *authority) issue(t *testing.T, name string) pair {
	t.Helper()
	template := &x509.Certificate{
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if strings.Contains(name, "://") {
		u, err := url.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	} else {
		template.DNSNames = []string{name}
	}
	key := newKey(t)
	der := sign(t, template, a.cert, key.Public(), a.key)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pair{
		tls:  tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key},
		cert: pemFile(t, "CERTIFICATE", der), key: pemFile(t, "PRIVATE KEY", secret),
	}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) []byte {
	t.Helper()
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template.SerialNumber = serial
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func pemFile(t *testing.T, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestClientIsKnownByItsCertificate_I10(t *testing.T) {
	const spiffe = "spiffe://mesh.example/ns/agents/sa/bot"
	ours, foreign := newAuthority(t), newAuthority(t)
	p := &point{check: func(*authv3.CheckRequest) *authv3.CheckResponse { return deny(http.StatusOK, "{}") }}
	address, pep := gateway.FreeAddress(t), gateway.FreeAddress(t)
	p.serve(t, "tcp", pep)
	server := ours.issue(t, "localhost")
	startEnvoy(t, bootstrap.Options{
		Listen: address, PEP: pep, Servers: []bootstrap.Server{{Name: "pay", URL: "http://127.0.0.1:9"}},
		TLS: bootstrap.TLS{Cert: server.cert, Key: server.key, ClientCA: ours.file},
	})
	call := func(certificates ...tls.Certificate) (string, error) {
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{
			RootCAs: ours.pool(), ServerName: "localhost", Certificates: certificates, MinVersion: tls.VersionTLS12,
		}}
		defer transport.CloseIdleConnections()
		r, err := http.NewRequest(http.MethodPost, "https://"+address+"/mcp/pay/", strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Forwarded-Client-Cert", "URI=spiffe://mesh.example/ns/admin")
		res, err := transport.RoundTrip(r)
		if err != nil {
			return "", err
		}
		defer res.Body.Close()
		return res.Proto, nil
	}
	mine := ours.issue(t, spiffe)
	within(t, "the enforcement point is asked", func() bool {
		proto, err := call(mine.tls)
		if err != nil || proto != "HTTP/2.0" {
			t.Fatalf("%s %v", proto, err)
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.asked) > 0
	})
	asked := p.last().GetAttributes()
	if source := asked.GetSource(); source.GetPrincipal() != spiffe || source.GetCertificate() == "" {
		t.Errorf("the client is %q with the certificate %q", source.GetPrincipal(), source.GetCertificate())
	}
	if asked.GetTlsSession().GetSni() != "localhost" {
		t.Errorf("the session is %v", asked.GetTlsSession())
	}
	for _, h := range asked.GetRequest().GetHttp().GetHeaderMap().GetHeaders() {
		if h.GetKey() == "x-forwarded-client-cert" {
			t.Errorf("the enforcement point got the client's own word, %s", h.GetRawValue())
		}
	}
	if _, err := call(); err == nil {
		t.Error("a client without a certificate was served")
	}
	if _, err := call(foreign.issue(t, spiffe).tls); err == nil {
		t.Error("a client with a certificate of a foreign authority was served")
	}
}

func TestServerIsKnownByItsCertificate(t *testing.T) {
	ours, foreign := newAuthority(t), newAuthority(t)
	p := &point{check: func(*authv3.CheckRequest) *authv3.CheckResponse { return allow() }}
	address, pep := gateway.FreeAddress(t), gateway.FreeAddress(t)
	p.serve(t, "tcp", pep)
	upstream := func(by *authority, name string, handler http.HandlerFunc) string {
		s := httptest.NewUnstartedServer(handler)
		s.TLS = &tls.Config{Certificates: []tls.Certificate{by.issue(t, name).tls}, MinVersion: tls.VersionTLS12}
		s.StartTLS()
		t.Cleanup(s.Close)
		return strings.Replace(s.URL, "127.0.0.1", "localhost", 1)
	}
	never := func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the server was called as %s", r.Host) }
	startEnvoy(t, bootstrap.Options{
		Listen: address, PEP: pep, UpstreamCA: ours.file,
		Servers: []bootstrap.Server{
			{Name: "right", URL: upstream(ours, "localhost", func(http.ResponseWriter, *http.Request) {})},
			{Name: "wrong", URL: upstream(ours, "other.example", never)},
			{Name: "foreign", URL: upstream(foreign, "localhost", never)},
		},
	})
	within(t, "calls pass", func() bool { return post(t, "http://"+address+"/mcp/right/", "{}").status == http.StatusOK })
	for _, name := range []string{"wrong", "foreign"} {
		got := post(t, "http://"+address+"/mcp/"+name+"/", "{}")
		if got.status != http.StatusServiceUnavailable || !strings.Contains(got.body, `"rule":"unreachable"`) {
			t.Errorf("%s: %v", name, got)
		}
	}
}
