package identity

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"math/big"
	"net/url"
	"testing"
)

// certificate is the DER of a client certificate with these names.
func certificate(t *testing.T, cn, dns, email, uri string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: cn}}
	if dns != "" {
		template.DNSNames = []string{dns}
	}
	if email != "" {
		template.EmailAddresses = []string{email}
	}
	if uri != "" {
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatal(err)
		}
		template.URIs = []*url.URL{u}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func fingerprintOf(der []byte) string {
	sum := sha256.Sum256(der)
	return fingerprintPrefix + hex.EncodeToString(sum[:])
}

// proving is a prover of subjects by access tokens that are their ids.
type proving struct{ proofs map[string]Proof }

func (p proving) Prove(_ context.Context, e Evidence) (Proof, error) {
	if proof, ok := p.proofs[e.BearerToken]; ok {
		return proof, nil
	}
	if e.BearerToken == "" && len(e.PeerCertificates) > 0 {
		return Proof{Subject: Subject{ID: "by certificate", Type: Workload}}, nil
	}
	return Proof{}, &Refusal{Code: Invalid, Reason: "the access token is no good"}
}

// refused expects a refusal of that code.
func refused(t *testing.T, err error, code Code) *Refusal {
	t.Helper()
	var r *Refusal
	if !errors.As(err, &r) || r.Code != code {
		t.Fatalf("error %v; want a refusal of code %d", err, code)
	}
	return r
}
