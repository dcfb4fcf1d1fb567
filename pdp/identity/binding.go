package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"regexp"
	"slices"
	"strings"
)

const fingerprintPrefix = "sha256:"

var fingerprint = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)

// checkBinding holds what a grant is bound to to what a certificate can prove.
func checkBinding(name string) error {
	if strings.HasPrefix(name, fingerprintPrefix) && !fingerprint.MatchString(name) {
		return errors.New("is no fingerprint: sha256: and the 64 hexadecimal digits, in lower case, of the certificate's SHA-256")
	}
	return checkText(name)
}

// provesBinding reports whether the leaf of a certificate chain, which the
// enforcement point has verified, is one of those that a grant is bound to. A grant
// that is bound to nothing needs none.
func provesBinding(boundTo []string, chain [][]byte) bool {
	if len(boundTo) == 0 {
		return true
	}
	if len(chain) == 0 {
		return false
	}
	sum := sha256.Sum256(chain[0])
	if slices.Contains(boundTo, fingerprintPrefix+hex.EncodeToString(sum[:])) {
		return true
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return false
	}
	return slices.ContainsFunc(certificateNames(leaf), func(name string) bool {
		// A fingerprint is proven by the certificate's bytes, never by a name in it.
		return !strings.HasPrefix(name, fingerprintPrefix) && slices.Contains(boundTo, name)
	})
}

// certificateNames are the names that a certificate says of its holder.
func certificateNames(c *x509.Certificate) []string {
	names := slices.Concat(c.DNSNames, c.EmailAddresses)
	for _, uri := range c.URIs {
		names = append(names, uri.String())
	}
	if c.Subject.CommonName != "" {
		names = append(names, c.Subject.CommonName)
	}
	return names
}
