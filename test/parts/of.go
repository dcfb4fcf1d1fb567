package parts

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// installed are the parts, installed once for all tests of a program.
var installed = sync.OnceValues(func() (Parts, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return Install(ctx, os.Stderr)
})

// patience is for all that has to be installed on a fresh machine.
const patience = 20 * time.Minute

// Of returns the parts for a test, which ends here, by the part's name, where one
// can't be had.
func Of(t testing.TB) Parts {
	t.Helper()
	p, err := installed()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// Postgres returns the directory of PostgreSQL's programs, for tests that need
// no other part.
func Postgres(t testing.TB) string {
	t.Helper()
	return filepath.Dir(theOne(t, thePostgres))
}

// Redis returns redis-server or valkey-server.
func Redis(t testing.TB) string {
	t.Helper()
	return theOne(t, theRedis)
}

// Chromium returns a Chromium or a Chrome.
func Chromium(t testing.TB) string {
	t.Helper()
	return theOne(t, theChromium)
}

// Axe returns the script of axe-core, which finds what keeps people off a page.
func Axe(t testing.TB) string {
	t.Helper()
	return theOne(t, theAxe)
}

// OIDCProvider returns Node.js, and the directory from which it finds the package
// oidc-provider.
func OIDCProvider(t testing.TB) (node, dir string) {
	t.Helper()
	dir = theOne(t, theOIDC)
	node, err := nodeProgram(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return node, dir
}

// KMS returns the program of a server that answers as the KMS of AWS does.
func KMS(t testing.TB) string {
	t.Helper()
	return theOne(t, theKMS)
}

var theAxe, theOIDC, theKMS = alone(axe, axeScript), alone(oidc, ""), alone(kms, kmsServer)

// alone installs one part, and returns where the file of it is.
func alone(p part, file string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		dir, unlock, err := locked()
		if err != nil {
			return "", err
		}
		defer unlock()
		if err := p.install(ctx, dir, os.Stderr); err != nil {
			return "", fmt.Errorf("part %s: %w", p.name, err)
		}
		return filepath.Join(dir, p.name, filepath.FromSlash(file)), nil
	})
}

var thePostgres, theRedis, theChromium = once(postgres), once(redis), once(chromium)

func theOne(t testing.TB, ensured func() (string, error)) string {
	t.Helper()
	path, err := ensured()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func once(p program) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, unlock, err := locked()
		if err != nil {
			return "", err
		}
		defer unlock()
		return p.ensure(ctx, os.Stderr)
	})
}
