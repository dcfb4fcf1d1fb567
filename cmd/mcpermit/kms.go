package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"

	"gocloud.dev/secrets"
	_ "gocloud.dev/secrets/awskms"        // awskms://
	_ "gocloud.dev/secrets/azurekeyvault" // azurekeyvault://
	_ "gocloud.dev/secrets/gcpkms"        // gcpkms://
	_ "gocloud.dev/secrets/hashivault"    // hashivault://
	"gocloud.dev/secrets/localsecrets"

	"github.com/mcpermit/mcpermit/pdp/credential"
)

// masterKey is a master key whose use ends with Close.
type masterKey struct {
	credential.MasterKey
	keeper *secrets.Keeper
}

func (m masterKey) Close() error { return m.keeper.Close() }

// openMasterKey opens file:PATH, env:NAME, or a key of a KMS by its URL. Of a KMS
// nothing is asked yet.
func openMasterKey(ctx context.Context, source string) (masterKey, error) {
	var text string
	var err error
	switch scheme, of, _ := strings.Cut(source, ":"); scheme {
	case "file":
		text, err = readKeyFile(of)
	case "env":
		var set bool
		if text, set = os.LookupEnv(of); !set {
			err = fmt.Errorf("environment variable %s is not set", of)
		}
	default:
		return openKMS(ctx, source)
	}
	if err != nil {
		return masterKey{}, err
	}
	key, err := decodeKey(text)
	if err != nil {
		return masterKey{}, fmt.Errorf("%s: %w", source, err)
	}
	keeper := localsecrets.NewKeeper(key)
	return masterKey{credential.MasterKey{Keeper: keeper, Name: fingerprint(key)}, keeper}, nil
}

func openKMS(ctx context.Context, source string) (masterKey, error) {
	u, err := url.Parse(source)
	if err != nil {
		return masterKey{}, errors.New("this is not the URL of a key of a KMS") // what it is may be secret
	}
	if u.User != nil { // it would be shown as part of the key's name
		return masterKey{}, errors.New("want the URL of a key without user name and password; these come from the environment")
	}
	keeper, err := secrets.OpenKeeper(ctx, source)
	if err != nil {
		return masterKey{}, err
	}
	// How the key is reached may change, and it is still the same.
	u.RawQuery = ""
	return masterKey{credential.MasterKey{Keeper: keeper, Name: u.Redacted()}, keeper}, nil
}

func readKeyFile(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return "", fmt.Errorf("others may read %s (mode %04o); chmod 600 it, or give the key as env:NAME", path, info.Mode().Perm())
	}
	b, err := os.ReadFile(path)
	return string(b), err
}

func decodeKey(text string) (key [32]byte, err error) {
	b, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(b) != len(key) {
		return key, errors.New("want 32 random bytes in base64, such as `openssl rand -base64 32` makes")
	}
	copy(key[:], b)
	return key, nil
}

// fingerprint tells keys apart. It says nothing of a key, which is random.
func fingerprint(key [32]byte) string {
	sum := sha256.Sum256(append([]byte("mcpermit master key\n"), key[:]...))
	return "local:" + hex.EncodeToString(sum[:8])
}
