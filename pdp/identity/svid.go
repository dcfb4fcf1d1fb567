package identity

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// Certificates proves workloads by their X.509-SVIDs (SPIFFE X.509-SVID, sections 2
// to 4). That a certificate authority of the trust domain signed the certificate is
// for the PEP to have verified: evidence may be the leaf alone. It is safe for
// concurrent use.
type Certificates struct {
	trustDomains []spiffeid.TrustDomain
	needsGrant   bool
	now          func() time.Time
}

// NewCertificates returns the prover for the SVIDs of the trust domains, such as
// "example.org". needsGrant says that their workloads may do nothing but under a
// grant. now is the clock; nil is the system's.
func NewCertificates(trustDomains []string, needsGrant bool, now func() time.Time) (*Certificates, error) {
	if now == nil {
		now = time.Now
	}
	c := &Certificates{needsGrant: needsGrant, now: now}
	for i, name := range trustDomains {
		td, err := spiffeid.TrustDomainFromString(name)
		if err != nil || td.Name() != strings.TrimPrefix(name, "spiffe://") {
			return nil, fmt.Errorf("trust_domains[%d]: %q is no SPIFFE trust domain such as example.org", i, clip(name))
		}
		c.trustDomains = append(c.trustDomains, td)
	}
	return c, nil
}

// Prove implements [Prover]: by the first of the peer's certificates.
func (c *Certificates) Prove(_ context.Context, e Evidence) (Proof, error) {
	if len(e.PeerCertificates) == 0 {
		return Proof{}, &Refusal{Code: Missing, Reason: "no client certificate was shown"}
	}
	leaf, err := x509.ParseCertificate(e.PeerCertificates[0])
	if err != nil {
		return Proof{}, invalidCertificate("can't be read")
	}
	if !slices.ContainsFunc(leaf.URIs, isSPIFFE) {
		return Proof{}, &Refusal{Code: Missing, Reason: "no token was sent, and the client certificate holds no SPIFFE ID"}
	}
	id, err := x509svid.IDFromCert(leaf)
	if err != nil {
		return Proof{}, invalidCertificate("must hold one well-formed SPIFFE ID and no other URI")
	}
	if err := c.check(leaf, id); err != nil {
		return Proof{}, err
	}
	subject := Subject{ID: id.String(), Type: Workload, Issuer: id.TrustDomain().Name()}
	now := c.now()
	switch {
	case now.Before(leaf.NotBefore):
		return Proof{}, invalidCertificate("is not valid yet")
	case now.After(leaf.NotAfter):
		return Proof{}, &Refusal{Code: Expired, Reason: "the client certificate has expired", Subject: &subject}
	}
	return Proof{Subject: subject, NeedsGrant: c.needsGrant}, nil
}

// check holds the certificate to what a leaf may be, and its id to what is
// configured. The error is a *Refusal.
func (c *Certificates) check(leaf *x509.Certificate, id spiffeid.ID) error {
	switch {
	case !slices.Contains(c.trustDomains, id.TrustDomain()):
		return invalidCertificate("is of a trust domain that is not accepted here")
	case id.Path() == "":
		return invalidCertificate("names a trust domain and no workload in it")
	case checkText(id.String()) != nil:
		return invalidCertificate("holds a SPIFFE ID longer than %d bytes", maxText)
	case leaf.IsCA || leaf.KeyUsage&(x509.KeyUsageCertSign|x509.KeyUsageCRLSign) != 0:
		return invalidCertificate("is one that signs others, and no workload's")
	case leaf.KeyUsage&x509.KeyUsageDigitalSignature == 0:
		return invalidCertificate("is not for digital signatures")
	case !authenticatesClients(leaf):
		return invalidCertificate("is not for client authentication")
	case len(leaf.UnhandledCriticalExtensions) > 0:
		return invalidCertificate("has a critical extension that is not understood")
	}
	return nil
}

func isSPIFFE(uri *url.URL) bool { return strings.EqualFold(uri.Scheme, "spiffe") }

// authenticatesClients is also said by leaving the extended key usage out.
func authenticatesClients(leaf *x509.Certificate) bool {
	if len(leaf.ExtKeyUsage)+len(leaf.UnknownExtKeyUsage) == 0 {
		return true
	}
	return slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageClientAuth) || slices.Contains(leaf.ExtKeyUsage, x509.ExtKeyUsageAny)
}

func invalidCertificate(format string, args ...any) *Refusal {
	return &Refusal{Code: Invalid, Reason: "the client certificate " + fmt.Sprintf(format, args...)}
}
