package credential

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// staleness is how old a cached secret may be, as everything that replicas know of
// one another.
const staleness = time.Second

// maxCached bounds the cache: more secrets than this are not in use within a
// second.
const maxCached = 1 << 14

// secretCache is a read-through cache of the secrets that are in use, and of those
// that are looked for and not there. It is safe for concurrent use.
type secretCache struct {
	vault Vault
	now   func() time.Time

	mu      sync.RWMutex
	secrets map[Key]cachedSecret
}

type cachedSecret struct {
	value  string
	found  bool
	readAt time.Time // taken before the vault was asked
}

func newSecretCache(v Vault, now func() time.Time) *secretCache {
	return &secretCache{vault: v, now: now, secrets: map[Key]cachedSecret{}}
}

// get returns the holder's own secret (own is true then), or else the one that all
// share, unless perSubject. The error names a secret that is missing.
func (c *secretCache) get(ctx context.Context, name, holder string, perSubject bool) (value string, own bool, err error) {
	if holder != "" {
		s, err := c.read(ctx, Key{Kind: KindSecret, Name: name, Holder: holder})
		if s.found || err != nil {
			return s.value, true, err
		}
	}
	if perSubject {
		return "", false, fmt.Errorf("%q has no secret %q of its own, and may not use a shared one; `mcpermit credentials set %s --holder ID` sets it", holder, name, name)
	}
	s, err := c.read(ctx, Key{Kind: KindSecret, Name: name})
	if err == nil && !s.found {
		err = fmt.Errorf("the secret %q is not set; `mcpermit credentials set %s` sets it", name, name)
	}
	return s.value, false, err
}

func (c *secretCache) read(ctx context.Context, k Key) (cachedSecret, error) {
	c.mu.RLock()
	s, ok := c.secrets[k]
	c.mu.RUnlock()
	// Below zero the clock was set back: it says nothing.
	if age := c.now().Sub(s.readAt); ok && age >= 0 && age < staleness {
		return s, nil
	}
	s = cachedSecret{readAt: c.now()}
	e, err := c.vault.Get(ctx, k)
	switch {
	case err == nil:
		s.value, s.found = string(e.Value), true
	case !errors.Is(err, ErrNotFound):
		return cachedSecret{}, fmt.Errorf("read the secret %q: %w", k.Name, err)
	}
	c.put(k, s)
	return s, nil
}

// put keeps the younger of two readings, if the clock was not set back since.
func (c *secretCache) put(k Key, s cachedSecret) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.secrets) >= maxCached {
		c.sweep()
	}
	if had := c.secrets[k].readAt; had.After(s.readAt) && !had.After(c.now()) {
		return
	}
	c.secrets[k] = s
}

// sweep drops the secrets that have run out, or all when none has.
func (c *secretCache) sweep() {
	now := c.now()
	before := len(c.secrets)
	for k, s := range c.secrets {
		if now.Sub(s.readAt) >= staleness {
			delete(c.secrets, k)
		}
	}
	if len(c.secrets) == before {
		clear(c.secrets)
	}
}
