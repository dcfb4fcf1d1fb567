package credential

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// Keeper encrypts and decrypts with one master key, mostly at a KMS. A *secrets.Keeper
// of gocloud.dev is one.
type Keeper interface {
	Encrypt(ctx context.Context, plaintext []byte) ([]byte, error)
	Decrypt(ctx context.Context, ciphertext []byte) ([]byte, error)
}

// MasterKey seals data keys, and nothing else.
type MasterKey struct {
	Keeper
	// Name says which one it is, for people and to see that it has changed. No
	// secret.
	Name string
}

// binding is the associated data of a sealed value. A value opens only under the
// key and the generation that it was sealed for: one that somebody has moved in
// the database to another row does not. Lengths stand before the texts, so that
// no two bindings have the same bytes.
func binding(k Key, generation int64) []byte {
	b := []byte("mcpermit credential 1\n")
	for _, text := range []string{k.Kind, k.Name, k.Holder} {
		b = binary.AppendUvarint(b, uint64(len(text)))
		b = append(b, text...)
	}
	return binary.BigEndian.AppendUint64(b, uint64(generation))
}

// newDataKey makes a data key of AES-256-GCM, and returns it with its sealed form.
func newDataKey(ctx context.Context, m MasterKey) (tink.AEAD, []byte, error) {
	h, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return nil, nil, fmt.Errorf("make a data key: %w", err)
	}
	wrapped, err := wrap(ctx, m, h)
	if err != nil {
		return nil, nil, err
	}
	key, err := aead.New(h)
	return key, wrapped, err
}

func wrap(ctx context.Context, m MasterKey, h *keyset.Handle) ([]byte, error) {
	var b bytes.Buffer
	if err := h.WriteWithContext(ctx, keyset.NewBinaryWriter(&b), asAEAD{m}, nil); err != nil {
		return nil, fmt.Errorf("the master key %s does not encrypt: %w", m.Name, err)
	}
	return b.Bytes(), nil
}

func unwrap(ctx context.Context, m MasterKey, wrapped []byte) (*keyset.Handle, error) {
	return keyset.ReadWithContext(ctx, keyset.NewBinaryReader(bytes.NewReader(wrapped)), asAEAD{m}, nil)
}

// asAEAD is a master key as tink knows it. Keepers have no associated data, and
// data keys need none: what they seal has it.
type asAEAD struct{ MasterKey }

var errAssociated = errors.New("a master key takes no associated data")

func (m asAEAD) EncryptWithContext(ctx context.Context, plaintext, associated []byte) ([]byte, error) {
	if len(associated) > 0 {
		return nil, errAssociated
	}
	return m.Encrypt(ctx, plaintext)
}

func (m asAEAD) DecryptWithContext(ctx context.Context, ciphertext, associated []byte) ([]byte, error) {
	if len(associated) > 0 {
		return nil, errAssociated
	}
	return m.Decrypt(ctx, ciphertext)
}
