package envoy

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/url"
	"slices"
	"strings"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

const headerForwarded = "X-Forwarded-Client-Cert"

// certificates are the client's, where somebody has verified them: Envoy, which
// then names a principal, or one of the trusted forwarders, which Envoy names as
// the principal and which say whose TLS they have ended. (I10) Where a trusted
// forwarder does not say it, there is no certificate at all: its own is not the
// client's.
func certificates(peer *authv3.AttributeContext_Peer, h http.Header, trusted []string) *tls.ConnectionState {
	encoded := peer.GetCertificate()
	if peer.GetPrincipal() == "" {
		return nil
	}
	if slices.Contains(trusted, peer.GetPrincipal()) {
		encoded = forwarded(h[headerForwarded])
	}
	leaf := parseCertificate(encoded)
	if leaf == nil {
		return nil
	}
	return &tls.ConnectionState{VerifiedChains: [][]*x509.Certificate{{leaf}}}
}

// parseCertificate reads a certificate in URL-encoded PEM, nil where it is none.
func parseCertificate(encoded string) *x509.Certificate {
	text, err := url.PathUnescape(encoded) // '+' is a digit of base64 here
	if err != nil {
		return nil
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" || strings.TrimSpace(string(rest)) != "" {
		return nil
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil
	}
	return leaf
}

// forwarded takes the certificate out of X-Forwarded-Client-Cert: one header
// with one element, and one Cert in it. With several, the elements before the
// last are only as good as whoever was trusted to write them.
func forwarded(values []string) (encoded string) {
	if len(values) != 1 {
		return ""
	}
	elements, ok := splitQuoted(values[0], ',')
	if !ok || len(elements) != 1 {
		return ""
	}
	pairs, _ := splitQuoted(elements[0], ';')
	for _, pair := range pairs {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		if !strings.EqualFold(key, "Cert") {
			continue
		}
		if encoded != "" {
			return ""
		}
		encoded = strings.Trim(value, `"`)
	}
	return encoded
}

// splitQuoted splits at a separator outside of double quotes, in which a
// backslash escapes. ok is false where a quote is not closed.
func splitQuoted(s string, separator byte) (parts []string, ok bool) {
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == separator && !quoted:
			parts, from = append(parts, s[from:i]), i+1
		}
	}
	return append(parts, s[from:]), !quoted
}
