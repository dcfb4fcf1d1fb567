package main

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/mcpermit/mcpermit/cmd/config"
	"github.com/mcpermit/mcpermit/pdp/credential"
)

// openVault opens the vault of the database; nil where decision points share one
// and no master key is configured, unless the configuration needs a vault. The
// closers are the master keys.
func openVault(ctx context.Context, cfg *config.Config, db credential.Store, log *slog.Logger) (_ *credential.SealedVault, keys []io.Closer, err error) {
	source := cfg.Vault.MasterKey
	switch {
	case source != "":
	case cfg.State.Database == "":
		if source, err = defaultMasterKey(ctx, cfg.State.Dir, db, log); err != nil {
			return nil, nil, err
		}
	case cfg.UsesVault():
		return nil, nil, misuse("vault.master_key: decision points that share a database have to share the key that seals its secrets; say where it is")
	default:
		return nil, nil, nil
	}
	o := credential.Options{Store: db, Log: log}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll(keys))
		}
	}()
	for i, s := range append([]string{source}, cfg.Vault.Old...) {
		key, err := openMasterKey(ctx, s)
		if err != nil {
			setting := "vault.master_key"
			if i > 0 {
				setting = "vault.old"
			}
			return nil, keys, misuse("%s: %w", setting, err)
		}
		keys = append(keys, key)
		if i == 0 {
			o.Master = key.MasterKey
		} else {
			o.Old = append(o.Old, key.MasterKey)
		}
	}
	v, err := credential.NewVault(ctx, o)
	if err != nil {
		return nil, keys, refused("vault: %w", err)
	}
	return v, keys, nil
}

func closeAll(list []io.Closer) error {
	var errs []error
	for _, c := range list {
		errs = append(errs, c.Close())
	}
	return errors.Join(errs...)
}

// masterKeyFile is in the state directory.
const masterKeyFile = "master.key"

// defaultMasterKey returns the key in the state directory, which is made when there
// is none, unless something is sealed that it could not open.
func defaultMasterKey(ctx context.Context, dir string, db credential.Store, log *slog.Logger) (string, error) {
	path := filepath.Join(dir, masterKeyFile)
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		return "file:" + path, err
	}
	sealed, err := db.DataKeys(ctx)
	if err != nil {
		return "", err
	}
	if len(sealed) > 0 {
		return "", refused("%s is not there, and the stored credentials are sealed with the master key %s: put the file back, or say under vault.master_key where that key is; nothing was changed",
			path, sealed[len(sealed)-1].Master)
	}
	if err := makeKeyFile(dir, path); err != nil {
		return "", fmt.Errorf("make %s: %w", path, err)
	}
	log.InfoContext(ctx, "a master key was made for secrets at rest; keep a copy of it apart from the state", "file", path)
	return "file:" + path, nil
}

// makeKeyFile makes a key that is there as a whole or not at all, and durable
// before anything is sealed with it. It never replaces one.
func makeKeyFile(dir, path string) error {
	key := make([]byte, 32)
	_, _ = rand.Read(key)                                // never fails
	f, err := os.CreateTemp(dir, "."+masterKeyFile+"-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.WriteString(base64.StdEncoding.EncodeToString(key) + "\n")
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	if runtime.GOOS == "windows" { // directories can't be synced there
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// newValues returns what the configuration says that frames carry.
func newValues(cfg *config.Config, vault *credential.SealedVault) (*credential.Values, error) {
	o := credential.ValuesOptions{Servers: map[string]credential.ServerValues{}}
	if vault != nil {
		o.Vault = vault
	}
	for name, s := range cfg.Servers {
		values := credential.ServerValues{Headers: headers(s.Headers), Default: s.DefaultCredential(), Credentials: map[string]credential.ValueSet{}}
		for name, c := range s.Credentials {
			values.Credentials[name] = credential.ValueSet{
				Headers: headers(c.Headers), Query: headers(c.Query), Env: headers(c.Env), PerSubject: c.PerSubject,
			}
		}
		o.Servers[name] = values
	}
	return credential.NewValues(o)
}

// headers are in the order of their names.
func headers(m map[string]string) []credential.Header {
	var list []credential.Header
	for _, name := range slices.Sorted(maps.Keys(m)) {
		list = append(list, credential.Header{Name: name, Value: m[name]})
	}
	return list
}
