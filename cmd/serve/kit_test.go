package serve

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mcpermit/mcpermit/cmd/config"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := new(authority)
	a.cert, a.key = issue(t, "authority", nil, func(c *x509.Certificate) {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	})
	return a
}

func issue(t *testing.T, name string, by *authority, change func(*x509.Certificate)) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	change(c)
	parent, signer := c, key
	if by != nil {
		parent, signer = by.cert, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) pair(t *testing.T, name string) (cert, key []byte) {
	t.Helper()
	c, k := issue(t, name, a, func(*x509.Certificate) {})
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf("CERTIFICATE", c.Raw), pemOf("PRIVATE KEY", der)
}

func (a *authority) pem() []byte { return pemOf("CERTIFICATE", a.cert.Raw) }

func pemOf(kind string, der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
}

// client is one that trusts the authority and shows a certificate of the other,
// if there is one.
func (a *authority) client(t *testing.T, identity *authority, name string) *http.Client {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	c.RootCAs.AddCert(a.cert)
	if identity != nil {
		pair, err := tls.X509KeyPair(identity.pair(t, name))
		if err != nil {
			t.Fatal(err)
		}
		// Also to a server that names other authorities.
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	transport := &http.Transport{TLSClientConfig: c, DisableKeepAlives: true, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	// As the renewers of certificates do: in one step.
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// pdp denies everything and keeps what it was asked.
type pdp struct {
	v1.UnimplementedDecisionServiceServer
	mu    sync.Mutex
	asked []*v1.DecideRequest
}

func (p *pdp) Decide(_ context.Context, r *v1.DecideRequest) (*v1.DecideResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r)
	return &v1.DecideResponse{Effect: v1.Effect_EFFECT_DENY, ReasonCode: v1.ReasonCode_REASON_CODE_UNAUTHENTICATED, Reason: "Who is it?"}, nil
}

func (p *pdp) last() *v1.DecideRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.asked) == 0 {
		return nil
	}
	return p.asked[len(p.asked)-1]
}

// house is a gateway with the listeners of a configuration.
type house struct {
	*Clients
	pdp *pdp
	log *buffer
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// open writes a configuration and serves it. The text stands behind listen,
// admin, and the one server up.
func open(t *testing.T, dir, text string) (*house, error) {
	t.Helper()
	file := filepath.Join(dir, "mcpermit.yaml")
	text = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\nservers: {up: {url: \"http://127.0.0.1:9/mcp\"}}\n" + text
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	h := &house{pdp: new(pdp), log: new(buffer)}
	g, err := NewGateway(cfg, h.pdp, v1.Transport_TRANSPORT_HTTP, slog.New(slog.NewTextHandler(h.log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	stop := func() {
		if err := g.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	}
	if h.Clients, err = g.Listen(t.Context(), cfg); err != nil {
		stop()
		return nil, err
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve() }()
	t.Cleanup(func() {
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return h, nil
}
