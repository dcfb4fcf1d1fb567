package storetest

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
)

func secretIsCreatedOnce(t *testing.T, open Database) {
	s := open(t)
	secret := func(s Store, name, otherwise string) string {
		t.Helper()
		return string(must[[]byte](t)(s.Secret(t.Context(), name, func() []byte { return []byte(otherwise) })))
	}
	if got := secret(s, "a", "first\x00\xff"); got != "first\x00\xff" {
		t.Errorf("created: %q", got)
	}
	if got := secret(s, "a", "second"); got != "first\x00\xff" {
		t.Errorf("created again: %q", got)
	}
	if got := secret(s, "b", "other"); got != "other" {
		t.Errorf("another name: %q", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := secret(opened(t, open), "a", "third"); got != "first\x00\xff" {
		t.Errorf("after reopening: %q", got)
	}
}

func concurrentCallersShareASecret(t *testing.T, open Database) {
	s := opened(t, open)
	const callers = 16
	got := make([][]byte, callers)
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			var err error
			if got[i], err = s.Secret(t.Context(), "key", func() []byte { return fmt.Append(nil, "secret ", i) }); err != nil {
				t.Errorf("secret: %v", err)
			}
		})
	}
	wg.Wait()
	for _, b := range got {
		if len(b) == 0 || !bytes.Equal(b, got[0]) {
			t.Fatalf("callers were given different secrets: %q", got)
		}
	}
}
