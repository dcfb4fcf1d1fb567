package identity

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds on the work that a key set, and a token, can make.
const (
	maxKeys    = 64
	maxTries   = 8    // keys that are tried for one token: those of one kid, or all where it has none
	minRSABits = 2048 // go-jose reads up to 4096
)

// keySet is an issuer's public keys. It is not changed.
type keySet struct {
	keys    []jose.JSONWebKey
	ignored int
	digest  [sha256.Size]byte // of the keys
}

// readKeySet reads a JWK set (RFC 7517, section 5). A key that is no public
// signature key, or too weak, is ignored as if it were not there. The error does
// not quote what was read.
func readKeySet(b []byte) (*keySet, error) {
	var document struct {
		Keys *[]jsontext.Value `json:"keys"`
	}
	if err := json.Unmarshal(b, &document); err != nil || document.Keys == nil {
		return nil, errors.New("what was answered is no JSON Web Key Set")
	}
	if n := len(*document.Keys); n > maxKeys {
		return nil, fmt.Errorf("the key set has %d keys; at most %d are read", n, maxKeys)
	}
	set := &keySet{}
	sum := sha256.New()
	for _, raw := range *document.Keys {
		key, plain, ok := readKey(raw)
		if !ok {
			set.ignored++
			continue
		}
		set.keys = append(set.keys, key)
		sum.Write(plain)
	}
	sum.Sum(set.digest[:0])
	return set, nil
}

// Members of a JWK: those that a public key is made of, and those of private and
// symmetric keys.
var (
	publicMembers = []string{"kty", "kid", "use", "alg", "n", "e", "crv", "x", "y"}
	secretMembers = []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k", "priv"}
)

// readKey reads a key, and returns it also in plain form: its public members alone.
// Certificates and where they would be are left out, since nobody asks them.
func readKey(raw jsontext.Value) (_ jose.JSONWebKey, plain []byte, ok bool) {
	var members map[string]jsontext.Value
	if json.Unmarshal(raw, &members) != nil {
		return jose.JSONWebKey{}, nil, false
	}
	for _, name := range secretMembers {
		if _, has := members[name]; has {
			return jose.JSONWebKey{}, nil, false
		}
	}
	if operations, has := members["key_ops"]; has {
		var names []string
		if json.Unmarshal(operations, &names) != nil || !slices.Contains(names, "verify") {
			return jose.JSONWebKey{}, nil, false
		}
	}
	public := map[string]jsontext.Value{}
	for _, name := range publicMembers {
		if v, has := members[name]; has {
			public[name] = v
		}
	}
	var key jose.JSONWebKey
	plain, err := json.Marshal(public, json.Deterministic(true))
	if err != nil || key.UnmarshalJSON(plain) != nil {
		return jose.JSONWebKey{}, nil, false
	}
	return key, plain, (key.Use == "" || key.Use == "sig") && isStrong(key.Key)
}

func isStrong(key any) bool {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return key.N.BitLen() >= minRSABits
	case *ecdsa.PublicKey, ed25519.PublicKey:
		return true
	}
	return false
}

// verifies reports whether one of the keys has signed the token.
func (s *keySet) verifies(t *signedToken) bool {
	tries := 0
	for i := range s.keys {
		key := &s.keys[i]
		// A kid is only ever compared: it is no path, and no address.
		if t.hasKeyID && key.KeyID != t.keyID || !fits(key, t.algorithm) {
			continue
		}
		if tries++; tries > maxTries {
			return false
		}
		if _, err := t.jws.Verify(key.Key); err == nil {
			return true
		}
	}
	return false
}

// fits says whether a key may be used with the algorithm: one that says which
// algorithm it is for is for no other, and its kind has to fit (RFC 8725, section
// 3.1).
func fits(key *jose.JSONWebKey, algorithm jose.SignatureAlgorithm) bool {
	if key.Algorithm != "" && key.Algorithm != string(algorithm) {
		return false
	}
	switch k := key.Key.(type) {
	case *rsa.PublicKey:
		return slices.Contains([]jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}, algorithm)
	case *ecdsa.PublicKey:
		return k.Curve == curves[algorithm]
	case ed25519.PublicKey:
		return algorithm == jose.EdDSA
	}
	return false
}

var curves = map[jose.SignatureAlgorithm]elliptic.Curve{
	jose.ES256: elliptic.P256(), jose.ES384: elliptic.P384(), jose.ES512: elliptic.P521(),
}
