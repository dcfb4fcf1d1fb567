package main

import (
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/store"
	"github.com/mcpermit/mcpermit/test/databases"
)

// vaultStore is a store in a directory of its own.
func vaultStore(t *testing.T) (dir string, s *store.SQLite) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "state")
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return dir, s
}

// vaultOf opens the vault that the configuration says.
func vaultOf(t *testing.T, c *config.Config, s credential.Store) (*credential.SealedVault, error) {
	t.Helper()
	v, keys, err := openVault(t.Context(), c, s, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		if err == nil {
			err = closeAll(keys)
		}
	})
	return v, err
}

func vaultConfig(dir, master string, old ...string) *config.Config {
	return &config.Config{State: config.State{Dir: dir}, Vault: config.Vault{MasterKey: master, Old: old}}
}

var theSecret = credential.Key{Kind: credential.KindSecret, Name: "key"}

func keeps(t *testing.T, v *credential.SealedVault) {
	t.Helper()
	if e, err := v.Get(t.Context(), theSecret); err != nil || string(e.Value) != "s3cret" {
		t.Errorf("the secret: %q, %v", e.Value, err)
	}
}

// TestMasterKeyOfAKMS goes from a key file to a key of a KMS, and from that to
// another one, as an operator does.
func TestMasterKeyOfAKMS(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", "test")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "test")
	server := databases.KMS(t)
	first, second := server.Key(t), server.Key(t)
	dir, s := vaultStore(t)

	v, err := vaultOf(t, vaultConfig(dir, ""), s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Set(t.Context(), theSecret, []byte("s3cret")); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ master, old string }{{first, "file:" + filepath.Join(dir, masterKeyFile)}, {second, first}} {
		if _, err := vaultOf(t, vaultConfig(dir, step.master), s); err == nil {
			t.Error("opened without the old key")
		}
		if v, err = vaultOf(t, vaultConfig(dir, step.master, step.old), s); err != nil {
			t.Fatal(err)
		}
		keeps(t, v)
		if err := v.Rekey(t.Context(), func(int, int) error { return nil }); err != nil {
			t.Fatal(err)
		}
		if v, err = vaultOf(t, vaultConfig(dir, step.master), s); err != nil {
			t.Fatal(err)
		}
		keeps(t, v)
	}
	keys, err := s.DataKeys(t.Context())
	if err != nil || len(keys) != 1 {
		t.Fatalf("data keys: %v, %v", keys, err)
	}
	// What the store says of the key is not how it is reached.
	if want, _, _ := strings.Cut(second, "?"); keys[0].Master != want {
		t.Errorf("master key %q, want %q", keys[0].Master, want)
	}

	server.Kill(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // the client library would try again for long
	if _, _, err := openVault(ctx, vaultConfig(dir, second), s, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("opened without the KMS")
	}
	keeps(t, v) // an open data key needs no KMS
}

func TestTheDefaultMasterKeyIsMadeOnce(t *testing.T) {
	dir, s := vaultStore(t)
	v, err := vaultOf(t, vaultConfig(dir, ""), s)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, masterKeyFile)
	made, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v; want 0600", info.Mode(), err)
	}
	if b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(made))); err != nil || len(b) != 32 {
		t.Errorf("%d bytes, %v; want 32", len(b), err)
	}
	if _, err := v.Set(t.Context(), theSecret, []byte("s3cret")); err != nil {
		t.Fatal(err)
	}
	if v, err = vaultOf(t, vaultConfig(dir, ""), s); err != nil {
		t.Fatal(err)
	}
	keeps(t, v)
	if again, err := os.ReadFile(path); err != nil || string(again) != string(made) {
		t.Errorf("the key was changed, %v", err)
	}
	names, err := filepath.Glob(filepath.Join(dir, ".*"))
	if err != nil || len(names) > 0 {
		t.Errorf("left behind: %q, %v", names, err)
	}
	if err := makeKeyFile(dir, path); !errors.Is(err, os.ErrExist) {
		t.Errorf("made in place of one that is there: %v", err)
	}

	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	_, err = vaultOf(t, vaultConfig(dir, ""), s)
	if err == nil || !strings.Contains(err.Error(), "put the file back, or say under vault.master_key") {
		t.Errorf("without the key: %v", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key was made: %v", err)
	}
}

func TestI6_MasterKeysThatAreRefusedAreNotShown(t *testing.T) {
	const canary = "c4n4ryc4n4ryc4n4ryc4n4ryc4n4ryc4n4ryc4n4ry="
	dir, s := vaultStore(t)
	open := filepath.Join(t.TempDir(), "open")
	bad := filepath.Join(t.TempDir(), "bad")
	if err := errors.Join(os.WriteFile(open, []byte(canary), 0o600), os.Chmod(open, 0o640), os.WriteFile(bad, []byte(canary), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("MCPERMIT_TEST_KEY", canary)
	for what, c := range map[string]struct{ master, want string }{
		"a file that others may read":  {"file:" + open, "others may read"},
		"a file of something else":     {"file:" + bad, "want 32 random bytes in base64"},
		"no file":                      {"file:" + filepath.Join(dir, "none"), "no such file"},
		"a variable of something else": {"env:MCPERMIT_TEST_KEY", "want 32 random bytes in base64"},
		"no variable":                  {"env:MCPERMIT_TEST_NONE", "environment variable MCPERMIT_TEST_NONE is not set"},
		"no URL":                       {"awskms://" + canary + "%zz", "not the URL of a key"},
		"a password of a KMS":          {"hashivault://" + canary + "@host/key", "without user name and password"},
		"no KMS":                       {"unknownkms://key", "unknownkms"},
	} {
		for _, old := range []bool{false, true} {
			cfg, setting := vaultConfig(dir, c.master), "vault.master_key: "
			if old {
				cfg, setting = vaultConfig(dir, "", c.master), "vault.old: "
			}
			v, err := vaultOf(t, cfg, s)
			if err == nil || v != nil || !strings.HasPrefix(err.Error(), setting) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "c4n4ry") {
				t.Errorf("%s: %v; want %q", what, err, setting+c.want)
			}
		}
	}
}

func TestASharedDatabaseNeedsASharedMasterKey(t *testing.T) {
	dir, s := vaultStore(t)
	cfg := vaultConfig(dir, "")
	cfg.State.Database = "postgres://h/d"
	if v, err := vaultOf(t, cfg, s); v != nil || err != nil {
		t.Errorf("where nothing uses it: %v, %v", v, err)
	}
	if _, err := newValues(cfg, nil); err != nil {
		t.Error(err)
	}
	cfg.Servers = map[string]config.Server{"s": {Headers: map[string]string{"A": "${secret:a}"}}}
	if _, err := vaultOf(t, cfg, s); err == nil || !strings.Contains(err.Error(), "vault.master_key: decision points that share a database") {
		t.Errorf("where something does: %v", err)
	}
	if _, err := os.Stat(filepath.Join(dir, masterKeyFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a key was made: %v", err)
	}
	t.Setenv("MCPERMIT_TEST_KEY", base64.StdEncoding.EncodeToString(make([]byte, 32)))
	cfg.Vault.MasterKey = "env:MCPERMIT_TEST_KEY"
	if v, err := vaultOf(t, cfg, s); v == nil || err != nil {
		t.Errorf("with one: %v, %v", v, err)
	}
}
