package approval

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Secrets keeps keys that the replicas of one decision point share.
type Secrets interface {
	// Secret returns the secret of that name. If there is none it stores what
	// create returns; of concurrent callers, also of other processes, all are
	// given the one that was stored.
	Secret(ctx context.Context, name string, create func() []byte) ([]byte, error)
}

const (
	roundSecret = "approval-round"
	roundKey    = 32 // bytes: AES-256
)

// Round is what a client carries from one round of a call to the next, sealed:
// it reads nothing of it and can change nothing. It is a way back to the
// approval and never the approval itself: whether the call may pass is for the
// store to say.
type Round struct {
	ApprovalID string
	Round      int    // from 1
	Binding    Digest // of the call that it belongs to
	Expires    time.Time
}

// Sealed rounds have these bytes of plain text before the approval's id.
const (
	roundHeader = 1 + 8 + 32
	maxRounds   = 255
	maxRoundID  = 256
	maxSealed   = 1024
)

// ErrRound says that a sealed round is not ours, is not for this call, was
// tampered with, or is too old. Which of them is nobody's business.
var ErrRound = errors.New("the state of the round is not valid, or not any more")

// Sealer seals the state of rounds. It is safe for concurrent use.
type Sealer struct{ aead cipher.AEAD }

// NewSealer returns a sealer with the key that the secrets hold, which is made
// when there is none.
func NewSealer(ctx context.Context, s Secrets) (*Sealer, error) {
	key, err := s.Secret(ctx, roundSecret, func() []byte {
		key := make([]byte, roundKey)
		rand.Read(key) // never fails
		return key
	})
	if err != nil {
		return nil, fmt.Errorf("read the key of round states: %w", err)
	}
	if len(key) != roundKey {
		return nil, fmt.Errorf("the key of round states has %d bytes, not %d", len(key), roundKey)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, err
	}
	return &Sealer{aead}, nil
}

// Seal returns the round as text of a URL's alphabet. Only with the same
// associated data can it be opened again: give what the round must not be moved
// away from, the subject and the grant for instance.
func (s *Sealer) Seal(r Round, associated []byte) (string, error) {
	if r.Round < 1 || r.Round > maxRounds || len(r.ApprovalID) > maxRoundID {
		return "", fmt.Errorf("round %d of approval %.20q cannot be sealed", r.Round, r.ApprovalID)
	}
	plain := make([]byte, 0, roundHeader+len(r.ApprovalID))
	plain = append(plain, byte(r.Round))
	plain = binary.BigEndian.AppendUint64(plain, uint64(r.Expires.UnixMicro()))
	plain = append(plain, r.Binding[:]...)
	plain = append(plain, r.ApprovalID...)
	sealed := s.aead.Seal(nil, nil, plain, associated) //nolint:gosec // the AEAD draws its nonces itself and wants none given
	return base64.RawURLEncoding.EncodeToString(sealed), nil
}

// Open returns the round that was sealed with the same associated data, unless
// it has expired at now; any other text gives ErrRound.
func (s *Sealer) Open(sealed string, associated []byte, now time.Time) (Round, error) {
	// The decoder skips line breaks; a round has one spelling.
	if len(sealed) > maxSealed || strings.ContainsAny(sealed, "\r\n") {
		return Round{}, ErrRound
	}
	b, err := base64.RawURLEncoding.Strict().DecodeString(sealed)
	if err != nil || len(b) < s.aead.Overhead() {
		return Round{}, ErrRound
	}
	plain, err := s.aead.Open(nil, nil, b, associated)
	if err != nil || len(plain) < roundHeader {
		return Round{}, ErrRound
	}
	r := Round{
		Round:      int(plain[0]),
		Expires:    time.UnixMicro(int64(binary.BigEndian.Uint64(plain[1:]))).UTC(),
		Binding:    Digest(plain[9:roundHeader]),
		ApprovalID: string(plain[roundHeader:]),
	}
	if !now.Before(r.Expires) {
		return Round{}, ErrRound
	}
	return r, nil
}
