package policy

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// verification is the public key that a bundle's signature must verify with.
type verification struct {
	keyID      string
	publicPEM  string
	algorithms []string // that the key can be used with; the first is its default
}

// newVerification reads a public key in PEM. The id is required: a signature
// must name the key it was made with.
func newVerification(publicPEM []byte, keyID string) (*verification, error) {
	if keyID == "" {
		return nil, errors.New("the policy's public key needs a key id, the one that the bundle's signature names")
	}
	block, rest := pem.Decode(publicPEM)
	if block == nil || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, errors.New("the policy's public key is not one block of PEM")
	}
	var key any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	default:
		return nil, fmt.Errorf("the policy's public key is a PEM block of type %q: want PUBLIC KEY", block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("the policy's public key: %w", err)
	}
	algorithms, err := signingAlgorithms(key)
	if err != nil {
		return nil, err
	}
	return &verification{keyID: keyID, publicPEM: string(pem.EncodeToMemory(block)), algorithms: algorithms}, nil
}

// signingAlgorithms are the JWS algorithms that go with a public key, RFC 7518
// section 3.1 and RFC 8037. Secrets shared with the signer are none.
func signingAlgorithms(public any) ([]string, error) {
	switch k := public.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return nil, fmt.Errorf("an RSA key of %d bits is too short: use 2048 or more", k.N.BitLen())
		}
		return []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, nil
	case *ecdsa.PublicKey:
		if alg, ok := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[k.Curve.Params().Name]; ok {
			return []string{alg}, nil
		}
	case ed25519.PublicKey:
		return []string{"EdDSA"}, nil
	}
	return nil, errors.New("bundles are signed with RSA, ECDSA (P-256, P-384, P-521) or Ed25519 keys")
}

// config is what OPA's reader is to check. The nil verification checks
// nothing, and refuses a signed bundle unless unverified is set: whoever signs
// a bundle does not mean it to be taken on trust.
func (v *verification) config(entries []entry, unverified bool) (*bundle.VerificationConfig, error) {
	i := slices.IndexFunc(entries, func(e entry) bool { return e.path == signaturesFile })
	switch {
	case v == nil && (i < 0 || unverified):
		return nil, nil
	case v == nil:
		return nil, errors.New("the bundle is signed and no public key is configured to verify it: set the policy's public key and key id")
	case i < 0:
		return nil, errors.New("the bundle is not signed, and a public key is configured: sign it with `mcpermit policy build --signing-key`")
	}
	header, err := signatureHeader(entries[i].data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", signaturesFile, err)
	}
	if header.KeyID != v.keyID {
		return nil, fmt.Errorf("the bundle is signed with the key %q, and %q is configured", header.KeyID, v.keyID)
	}
	if !slices.Contains(v.algorithms, header.Algorithm) {
		return nil, fmt.Errorf("the bundle is signed with the algorithm %q, and the configured key goes with %s",
			header.Algorithm, strings.Join(v.algorithms, ", "))
	}
	key := &bundle.KeyConfig{Key: v.publicPEM, Algorithm: header.Algorithm}
	return bundle.NewVerificationConfig(map[string]*bundle.KeyConfig{v.keyID: key}, v.keyID, "", nil), nil
}

// signatureClaims is what a signature says of itself; nothing of it is trusted
// before OPA's reader has verified it.
type signatureClaims struct {
	KeyID     string `json:"kid"`
	Algorithm string `json:"alg"`
}

func signatureHeader(signatures []byte) (signatureClaims, error) {
	var claims signatureClaims
	var file bundle.SignaturesConfig
	if err := decodeStrictly(signatures, &file); err != nil {
		return claims, err
	}
	// OPA's signer writes the name of its own plugin.
	if len(file.Signatures) != 1 || file.Plugin != "" && file.Plugin != "_default" {
		return claims, errors.New("want exactly one signature, and no plugin")
	}
	parts := strings.Split(file.Signatures[0], ".")
	if len(parts) != 3 {
		return claims, errors.New("the signature is no JWS")
	}
	if err := decodePart(parts[0], &claims); err != nil {
		return claims, fmt.Errorf("the signature's header: %w", err)
	}
	if claims.KeyID == "" {
		// `opa sign --claims-file` names the key in the payload.
		var payload bundle.DecodedSignature
		if err := decodePart(parts[1], &payload); err != nil {
			return claims, fmt.Errorf("the signature's payload: %w", err)
		}
		claims.KeyID = payload.KeyID
	}
	return claims, nil
}

func decodePart(part string, into any) error {
	raw, err := base64.RawURLEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return decodeStrictly(raw, into)
}

func decodeStrictly(data []byte, into any) error {
	if _, err := readJSON(data); err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}
