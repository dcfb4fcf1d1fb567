package credential_test

import (
	"bytes"
	"errors"
	"log/slog"
	"testing"
	"time"

	"gocloud.dev/secrets/localsecrets"

	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/store"
)

// start is when the tests happen, to the microsecond that stores keep.
var start = time.Date(2026, 11, 25, 12, 0, 0, 123456000, time.UTC)

func newStore(t *testing.T) credential.Store {
	t.Helper()
	s, err := store.Open(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// masterKey returns a key of the name; the same one for the same name.
func masterKey(name string) credential.MasterKey {
	var key [32]byte
	copy(key[:], bytes.Repeat([]byte(name+"."), 32))
	return credential.MasterKey{Keeper: localsecrets.NewKeeper(key), Name: name}
}

func newVault(t *testing.T, s credential.Store, master string, old ...string) *credential.SealedVault {
	t.Helper()
	o := credential.Options{Store: s, Master: masterKey(master), Now: func() time.Time { return start }, Log: slog.New(slog.DiscardHandler)}
	for _, name := range old {
		o.Old = append(o.Old, masterKey(name))
	}
	v, err := credential.NewVault(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func secret(name, holder string) credential.Key {
	return credential.Key{Kind: credential.KindSecret, Name: name, Holder: holder}
}

func set(t *testing.T, v *credential.SealedVault, k credential.Key, value string) {
	t.Helper()
	if _, err := v.Set(t.Context(), k, []byte(value)); err != nil {
		t.Fatal(err)
	}
}

func wantValue(t *testing.T, v credential.Vault, k credential.Key, want string) {
	t.Helper()
	if e, err := v.Get(t.Context(), k); err != nil || string(e.Value) != want {
		t.Errorf("%s: %q, %v; want %q", k, e.Value, err, want)
	}
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func dataKeyIDs(t *testing.T, s credential.Store) (ids []int64) {
	t.Helper()
	keys, err := s.DataKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	return ids
}

func ignore(int, int) error { return nil }
