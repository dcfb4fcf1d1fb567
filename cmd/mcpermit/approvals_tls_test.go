package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/mcpermit/mcpermit/cmd/config"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// authority signs certificates for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{}
	a.cert, a.key = signed(t, template, template, nil)
	return a
}

func signed(t *testing.T, template, parent *x509.Certificate, by *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// issue returns a certificate with these names.
func (a *authority) issue(t *testing.T, common string, dns ...string) tls.Certificate {
	t.Helper()
	cert, key := signed(t, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: common}, DNSNames: dns,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.cert, a.key)
	return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
}

func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// I10, over a real connection: who decides is who the certificate says, whatever
// the request does.
func TestI10_ClientsWithACertificateDecideForThemselves(t *testing.T) {
	p, _ := pointFor(t, threePeople)
	a := waitingCall(t, p, "create_refund", nil)
	ca := newAuthority(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	allowed := allowedServices([]config.PDPClient{{Name: "anna", Services: []string{"ApprovalService"}}, {Name: "bob", Services: []string{"DecisionService"}}})
	s := newServer(p, append(only(allowed), grpc.Creds(credentials.NewTLS(&tls.Config{
		MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{ca.issue(t, "pdp", "localhost")},
		ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: ca.pool(),
	})))...)
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	approve := func(certificate tls.Certificate, person string) error {
		conn, err := grpc.NewClient(l.Addr().String(), grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			MinVersion: tls.VersionTLS13, ServerName: "localhost", RootCAs: ca.pool(), Certificates: []tls.Certificate{certificate},
		})))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		_, err = v1.NewApprovalServiceClient(conn).ApproveCall(ctx, &v1.ApproveCallRequest{Id: a.ID, Person: person})
		return err
	}
	anna := ca.issue(t, "anna", "anna.example")
	for _, c := range []struct {
		what        string
		certificate tls.Certificate
		person      string
		want        codes.Code
	}{
		{"in another's name", anna, "bob", codes.PermissionDenied},
		{"one who may not call the service", ca.issue(t, "bob"), "bob", codes.PermissionDenied},
		{"a stranger's authority", newAuthority(t).issue(t, "anna"), "anna", codes.Unavailable},
		{"in the own name", anna, "anna", codes.OK},
	} {
		if err := approve(c.certificate, c.person); status.Code(err) != c.want {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
	got, err := p.approvals.Get(t.Context(), a.ID)
	if err != nil || len(got.Votes) != 1 || got.Votes[0].Person != "anna" || got.Votes[0].Via != "api" {
		t.Errorf("votes %+v, %v", got.Votes, err)
	}
}
