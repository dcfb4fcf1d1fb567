package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"hash/crc32"
)

// A token is
//
//	mcpg_ <id: 16> <secret: 43> <checksum: 6>
//
// with everything after the prefix in base 62 and no separators, so that one
// expression, mcpg_[0-9A-Za-z]{65}, finds all of them and the checksum leaves
// next to no false alarms. The id is public and is the grant's id; the secret
// has 256 bits; the checksum is the CRC-32 (IEEE) of all before it.
const (
	tokenPrefix   = "mcpg_"
	idLen         = 16
	secretLen     = 43
	checksumLen   = 6
	tokenLen      = len(tokenPrefix) + idLen + secretLen + checksumLen
	base62Digits  = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	base62Uniform = 256 / 62 * 62 // random bytes from here on would favour some digits
)

// digest is the SHA-256 of a whole token. The id is part of what is hashed, so
// a stored digest is of no use under another grant. A slow hash would protect
// nothing: 256 random bits cannot be guessed.
type digest = [sha256.Size]byte

// newToken makes the token of a new grant.
func newToken() (id, token string) {
	id = randomBase62(idLen)
	return id, tokenOf(id)
}

// tokenOf makes another token for the grant of that id.
func tokenOf(id string) string {
	body := tokenPrefix + id + randomBase62(secretLen)
	return body + checksum(body)
}

// parseToken returns the public id of a well-formed token, which is all that
// it says: whether the secret is the right one is for the digest to tell.
func parseToken(token string) (id string, ok bool) {
	if len(token) != tokenLen || token[:len(tokenPrefix)] != tokenPrefix {
		return "", false
	}
	for i := len(tokenPrefix); i < len(token); i++ {
		if !isBase62(token[i]) {
			return "", false
		}
	}
	body := token[:tokenLen-checksumLen]
	if checksum(body) != token[len(body):] {
		return "", false
	}
	return token[len(tokenPrefix) : len(tokenPrefix)+idLen], true
}

func digestOf(token string) digest { return sha256.Sum256([]byte(token)) }

// sameDigest compares in constant time.
func sameDigest(a, b digest) bool { return subtle.ConstantTimeCompare(a[:], b[:]) == 1 }

func checksum(body string) string {
	var digits [checksumLen]byte
	sum := crc32.ChecksumIEEE([]byte(body))
	for i := len(digits) - 1; i >= 0; i-- {
		digits[i] = base62Digits[sum%62]
		sum /= 62
	}
	return string(digits[:])
}

func randomBase62(n int) string {
	out := make([]byte, 0, n)
	var random [64]byte
	for len(out) < n {
		rand.Read(random[:]) // never fails: crypto/rand ends the program instead
		for _, b := range random {
			if b < base62Uniform && len(out) < n {
				out = append(out, base62Digits[b%62])
			}
		}
	}
	return string(out)
}

func isBase62(b byte) bool {
	return '0' <= b && b <= '9' || 'A' <= b && b <= 'Z' || 'a' <= b && b <= 'z'
}
