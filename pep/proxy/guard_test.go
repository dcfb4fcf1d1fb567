package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"testing"
	"testing/synctest"
	"time"
)

// testCA makes certificates for a test.
type testCA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newCA(t *testing.T) *testCA {
	ca := &testCA{pool: x509.NewCertPool()}
	ca.key = newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &ca.key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	if ca.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	ca.pool.AddCert(ca.cert)
	return ca
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (ca *testCA) issue(t *testing.T, name string) tls.Certificate {
	key := newKey(t)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca.cert, &key.PublicKey, ca.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

func TestI10_OnlyVerifiedCertificatesAreEvidence(t *testing.T) {
	ca, other := newCA(t), newCA(t)
	up := newServer(t, tools)
	pdp := &fakePDP{}
	plain := newGateway(t, up.URL, pdp)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := NewHTTPServer("", plain.Proxy)
	l := tls.NewListener(inner, &tls.Config{
		Certificates: []tls.Certificate{ca.issue(t, "gateway")}, ClientCAs: ca.pool,
		ClientAuth: tls.VerifyClientCertIfGiven, NextProtos: []string{"http/1.1"},
	})
	go func() { _ = server.Serve(plain.Guard(l)) }()
	defer server.Close()
	post := func(certs ...tls.Certificate) (*http.Response, error) {
		c := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.pool, Certificates: certs}}}
		defer c.CloseIdleConnections()
		r := plain.request(http.MethodPost, ping)
		r.URL.Scheme, r.URL.Host, r.Host = "https", inner.Addr().String(), ""
		res, err := c.Do(r)
		if err == nil {
			res.Body.Close()
		}
		return res, err
	}
	client := ca.issue(t, "client")
	if res, err := post(client); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", res, err)
	}
	got := pdp.last().GetEvidence().GetPeerCertificates()
	if len(got) != 2 || string(got[0]) != string(client.Certificate[0]) {
		t.Errorf("%d certificates, the first %x…", len(got), got[0][:8])
	}
	if res, err := post(); err != nil || res.StatusCode != http.StatusOK || len(pdp.last().GetEvidence().GetPeerCertificates()) != 0 {
		t.Errorf("without a certificate: %v %v", res, err)
	}
	n := len(pdp.questions())
	if res, err := post(other.issue(t, "client")); err == nil {
		t.Errorf("a foreign certificate got %v", res.Status)
	}
	if len(pdp.questions()) != n {
		t.Errorf("a failed handshake is on record as a request: %q", pdp.questions()[n:])
	}
}

func TestR9_TheServersTimeouts(t *testing.T) {
	s := NewHTTPServer(":1", http.NotFoundHandler())
	if s.ReadHeaderTimeout != 5*time.Second || s.MaxHeaderBytes > 32<<10 || s.Addr != ":1" {
		t.Errorf("%+v", s)
	}
	if s.WriteTimeout != 0 || s.ReadTimeout != 0 {
		t.Errorf("streams would be cut off: %v %v", s.WriteTimeout, s.ReadTimeout)
	}
}

// stuck is a connection to a client that reads nothing.
type stuck struct {
	net.Conn
	sets     int
	deadline time.Time
}

func (c *stuck) SetWriteDeadline(t time.Time) error {
	c.sets++
	c.deadline = t
	return c.Conn.SetWriteDeadline(t)
}

func TestR9_AClientThatDoesNotReadIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		defer far.Close()
		conn := &stuck{Conn: near}
		c := &guardedConn{Conn: conn}
		defer near.Close()
		for _, step := range []struct {
			pause time.Duration
			sets  int
		}{{0, 1}, {time.Second, 1}, {13 * time.Second, 1}, {2 * time.Second, 2}, {time.Hour, 3}} {
			time.Sleep(step.pause)
			c.extend()
			if left := time.Until(conn.deadline); left < writeTimeout || left > 45*time.Second {
				t.Errorf("%v are left for a write", left)
			}
			if conn.sets != step.sets {
				t.Errorf("the deadline was set %d times, want %d", conn.sets, step.sets)
			}
		}
		start := time.Now()
		_, err := c.Write([]byte("data: {}\n\n"))
		if took := time.Since(start); !errors.Is(err, os.ErrDeadlineExceeded) || took < writeTimeout || took > 45*time.Second {
			t.Errorf("%v after %v", err, took)
		}
	})
}
