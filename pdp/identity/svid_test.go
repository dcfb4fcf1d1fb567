package identity

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// newSVID returns a leaf certificate with the id spiffe://example.org/agent, after
// change.
func newSVID(t testing.TB, change func(*x509.Certificate)) []byte {
	t.Helper()
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "spiffe://example.org/admin"}, DNSNames: []string{"admin.example.org"},
		URIs:      []*url.URL{made(url.Parse("spiffe://example.org/agent"))},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Minute), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if change != nil {
		change(leaf)
	}
	return made(x509.CreateCertificate(rand.Reader, leaf, leaf, ecKey().Public(), ecKey()))
}

func uris(ids ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.URIs = nil
		for _, id := range ids {
			c.URIs = append(c.URIs, made(url.Parse(id)))
		}
	}
}

func TestWorkloadsByTheirSVIDs(t *testing.T) {
	c, err := NewCertificates([]string{"other.example", "spiffe://example.org"}, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := Proof{NeedsGrant: true, Subject: Subject{ID: "spiffe://example.org/agent", Type: Workload, Issuer: "example.org"}}
	for name, change := range map[string]func(*x509.Certificate){
		"usual":                 nil,
		"no extended key usage": func(c *x509.Certificate) { c.ExtKeyUsage = nil },
		"any key usage":         func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageAny} },
	} {
		got, err := c.Prove(t.Context(), Evidence{PeerCertificates: [][]byte{newSVID(t, change), []byte("intermediate")}})
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestI10_CertificatesThatProveNobody(t *testing.T) {
	c, err := NewCertificates([]string{"example.org"}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, x := range map[string]struct {
		change func(*x509.Certificate)
		code   Code
	}{
		"no URI: names and DNS prove nothing": {uris(), Missing},
		"a URI of another scheme":             {uris("https://example.org/agent"), Missing},
		"two SPIFFE IDs":                      {uris("spiffe://example.org/agent", "spiffe://example.org/admin"), Invalid},
		"one and another URI":                 {uris("https://example.org", "spiffe://example.org/agent"), Invalid},
		"other trust domain":                  {uris("spiffe://example.com/agent"), Invalid},
		"longer trust domain":                 {uris("spiffe://example.org.evil.example/agent"), Invalid},
		"sub domain":                          {uris("spiffe://a.example.org/agent"), Invalid},
		"trust domain alone":                  {uris("spiffe://example.org"), Invalid},
		"with a port":                         {uris("spiffe://example.org:443/agent"), Invalid},
		"with a user":                         {uris("spiffe://u@example.org/agent"), Invalid},
		"with a query":                        {uris("spiffe://example.org/agent?x=1"), Invalid},
		"dots in its path":                    {uris("spiffe://example.org/../admin"), Invalid},
		"empty segment":                       {uris("spiffe://example.org//agent"), Invalid},
		"slash at its end":                    {uris("spiffe://example.org/agent/"), Invalid},
		"percent-encoded":                     {uris("spiffe://example.org/%61gent"), Invalid},
		"too long":                            {uris("spiffe://example.org/" + strings.Repeat("a", maxText)), Invalid},
		"a CA's":                              {func(c *x509.Certificate) { c.IsCA = true }, Invalid},
		"a critical extension of its own": {func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}, Invalid},
		"signs certificates":     {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCertSign }, Invalid},
		"signs revocation lists": {func(c *x509.Certificate) { c.KeyUsage |= x509.KeyUsageCRLSign }, Invalid},
		"no digital signature":   {func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyAgreement }, Invalid},
		"servers only":           {func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} }, Invalid},
		"not yet valid":          {func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Second) }, Invalid},
		"expired":                {func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }, Expired},
	} {
		t.Run(name, func(t *testing.T) {
			unproven(t, c, Evidence{PeerCertificates: [][]byte{newSVID(t, x.change)}}, x.code)
		})
	}
	unproven(t, c, Evidence{}, Missing)
	unproven(t, c, Evidence{PeerCertificates: [][]byte{{1, 2, 3}}}, Invalid)
	unproven(t, c, Evidence{PeerCertificates: [][]byte{nil}}, Invalid)
}

func TestTrustDomains(t *testing.T) {
	for _, name := range []string{"", "Example.org", "example.org/agent", "spiffe://example.org/agent", "https://example.org", "*", "example.org:443"} {
		if _, err := NewCertificates([]string{name}, false, nil); err == nil {
			t.Errorf("%q is taken for a trust domain", name)
		}
	}
}
