package policy

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// SigningKey signs bundles.
type SigningKey struct {
	id        string
	algorithm string
	private   string // PEM
	public    []byte // PEM, PKIX
}

// NewSigningKey reads a private key in PEM (PKCS #8, PKCS #1 or SEC 1): RSA,
// ECDSA or Ed25519. The signature names it as keyID.
func NewSigningKey(privatePEM []byte, keyID string) (*SigningKey, error) {
	if keyID == "" {
		return nil, errors.New("name the signing key: whoever verifies the bundle goes by its key id")
	}
	block, _ := pem.Decode(privatePEM)
	if block == nil {
		return nil, errors.New("the signing key is no PEM")
	}
	key, err := parsePrivateKey(block)
	if err != nil {
		return nil, fmt.Errorf("the signing key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("the signing key cannot sign")
	}
	algorithms, err := signingAlgorithms(signer.Public())
	if err != nil {
		return nil, err
	}
	public, err := x509.MarshalPKIXPublicKey(signer.Public())
	if err != nil {
		return nil, fmt.Errorf("the signing key: %w", err)
	}
	return &SigningKey{
		id: keyID, algorithm: algorithms[0],
		private: string(pem.EncodeToMemory(block)),
		public:  pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public}),
	}, nil
}

func parsePrivateKey(block *pem.Block) (any, error) {
	switch block.Type {
	case "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("PEM block of type %q: want PRIVATE KEY, not encrypted", block.Type)
	}
}

// ID is the key id that signatures name.
func (k *SigningKey) ID() string { return k.id }

// PublicKey is the PEM public key that verifies what the key signs.
func (k *SigningKey) PublicKey() []byte { return k.public }

// WriteArchive writes the bundle as a bundle.tar.gz in OPA's format, signed
// when a key is given. The same bundle gives the same bytes, but for the
// signatures of ECDSA and RSA-PSS. Its manifest gets rego_version 1, and roots
// for what it holds where it names none.
func WriteArchive(w io.Writer, b *bundle.Bundle, key *SigningKey) error {
	out := *b
	if out.Manifest.Roots == nil || slices.Equal(*out.Manifest.Roots, []string{""}) {
		roots := rootsOf(b)
		out.Manifest.Roots = &roots
	}
	out.Manifest.SetRegoVersion(ast.RegoV1)
	out.Signatures = bundle.SignaturesConfig{}
	if key != nil {
		if err := out.GenerateSignature(bundle.NewSigningConfig(key.private, key.algorithm, ""), key.id, true); err != nil {
			return fmt.Errorf("signing the bundle: %w", err)
		}
	}
	return bundle.NewWriter(w).UseModulePath(true).DisableFormat(true).Write(out)
}

// rootsOf are the top-level names of the bundle's packages and data.
func rootsOf(b *bundle.Bundle) []string {
	roots := []string{}
	for _, m := range b.Modules {
		if at := refNames(m.Parsed.Package.Path); len(at) > 0 {
			roots = append(roots, at[0])
		}
	}
	for name := range b.Data {
		roots = append(roots, name)
	}
	slices.Sort(roots)
	return slices.Compact(roots)
}
