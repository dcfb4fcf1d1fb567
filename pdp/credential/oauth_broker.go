package credential

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/singleflight"
)

// BrokerOptions is what a [Broker] stands on.
type BrokerOptions struct {
	// Servers by name.
	Servers map[string]Upstream
	// Values gives what is fixed, of every server and each of its credentials; nil:
	// nothing is.
	Values Source
	// ConsoleURL is http(s)://host[:port] of the console, on whose pages accounts are
	// connected; "" where there is none.
	ConsoleURL string
	Vault      Vault
	// List returns what is kept of a kind, as [Store.SealedValues] does; it is needed
	// for lists of accounts only.
	List func(ctx context.Context, kind string) ([]Sealed, error)
	// HTTP reaches what the configuration names, Discovered what others name: it
	// must refuse private addresses. Neither's redirects are followed with a secret.
	HTTP, Discovered *http.Client
	// AllowHTTP takes http:// of what others name. For tests.
	AllowHTTP bool

	// Now is the clock; nil is the system's.
	Now func() time.Time
	Log *slog.Logger
}

// Broker is the [Source] that has tokens from authorization servers. It is safe for
// concurrent use; [Broker.Close] ends it.
type Broker struct {
	servers   map[string]*served
	fixed     Source
	console   string
	vault     Vault
	list      func(context.Context, string) ([]Sealed, error)
	named     *http.Client
	found     *http.Client
	allowHTTP bool
	now       func() time.Time
	log       *slog.Logger

	memory  memory
	flights singleflight.Group
	offers  offers

	mu      sync.Mutex
	closed  bool
	flying  sync.WaitGroup
	closing chan struct{}
	close   sync.Once
}

var _ Source = (*Broker)(nil)

// served is a server of the broker.
type served struct {
	preset string
	byName map[string]*brokered
}

// NewBroker returns the broker of the servers. Its error is about the options.
func NewBroker(o BrokerOptions) (*Broker, error) {
	if o.Vault == nil || o.HTTP == nil || o.Discovered == nil {
		return nil, errors.New("a credential broker needs a vault and two HTTP clients")
	}
	b := &Broker{
		servers: make(map[string]*served, len(o.Servers)), fixed: o.Values, console: strings.TrimSuffix(o.ConsoleURL, "/"),
		vault: o.Vault, list: o.List, named: bounded(o.HTTP), found: bounded(o.Discovered), allowHTTP: o.AllowHTTP,
		now: o.Now, log: o.Log, memory: newMemory(), offers: newOffers(), closing: make(chan struct{}),
	}
	if b.now == nil {
		b.now = time.Now
	}
	if b.log == nil {
		b.log = slog.Default()
	}
	for _, server := range sortedKeys(o.Servers) {
		u := o.Servers[server]
		s := &served{preset: u.Default, byName: make(map[string]*brokered, len(u.Credentials))}
		for _, name := range sortedKeys(u.Credentials) {
			c, err := b.newBrokered(server, name, u)
			if err != nil {
				return nil, fmt.Errorf("server %s: credentials.%s: %w", server, name, err)
			}
			s.byName[name] = c
			if len(u.Credentials) == 1 {
				s.preset = cmp.Or(s.preset, name)
			}
		}
		if _, known := s.byName[s.preset]; !known && len(s.byName) > 0 {
			return nil, fmt.Errorf("server %s: credential: there is no %q among the server's credentials", server, s.preset)
		}
		b.servers[server] = s
	}
	return b, nil
}

// String says nothing of what is inside.
func (b *Broker) String() string {
	return fmt.Sprintf("credential broker of %d servers", len(b.servers))
}

// GoString says nothing of what is inside.
func (b *Broker) GoString() string { return b.String() }

// LogValue says nothing of what is inside.
func (b *Broker) LogValue() slog.Value { return slog.StringValue(b.String()) }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Close lets what is under way end, such as a renewal whose answer must not be
// lost, and begins nothing more. It returns within a minute.
func (b *Broker) Close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.close.Do(func() { close(b.closing) })
	b.flying.Wait()
}

// credential finds the one that is asked for; nil where the server has none.
func (b *Broker) credential(server, name string) (*brokered, error) {
	s := b.servers[server]
	if s == nil || len(s.byName) == 0 {
		if name == "" {
			return nil, nil
		}
		return nil, &UnknownError{Server: server, Name: name}
	}
	c := s.byName[cmp.Or(name, s.preset)]
	if c == nil {
		return nil, &UnknownError{Server: server, Name: name}
	}
	return c, nil
}

// For implements [Source].
func (b *Broker) For(ctx context.Context, r Request) (Material, error) {
	c, m, err := b.chosen(ctx, &r)
	switch {
	case err != nil || c == nil:
		return m, err
	case c.exchange != nil:
		return c.exchange.material(ctx, m, r)
	case c.grant != nil:
		return b.material(ctx, c, m, r)
	}
	return m, nil
}

// Renew implements [Source].
func (b *Broker) Renew(ctx context.Context, r Request, generation int64) (Material, error) {
	c, m, err := b.chosen(ctx, &r)
	switch {
	case err != nil || c == nil:
		return m, err
	case c.exchange != nil:
		return c.exchange.renewed(ctx, m, r, generation)
	case c.grant == nil:
		return m, nil
	}
	holder := c.grant.holder(r.Holder)
	h, err := b.renewal(ctx, c, holder, generation, true)
	if err != nil {
		return Material{}, err
	}
	return carry(m, c.name, holder, h), nil
}

// chosen finds the credential that is asked for, nil for a server that has none, and
// what is fixed of it.
func (b *Broker) chosen(ctx context.Context, r *Request) (*brokered, Material, error) {
	c, err := b.credential(r.Server, r.Name)
	if err != nil {
		return nil, Material{}, err
	}
	if c != nil {
		r.Name = c.name
	}
	if b.fixed == nil {
		return c, Material{}, nil
	}
	m, err := b.fixed.For(ctx, *r)
	return c, m, err
}

// material is what is fixed, and the holder's token.
func (b *Broker) material(ctx context.Context, c *brokered, m Material, r Request) (Material, error) {
	holder := c.grant.holder(r.Holder)
	h, err := b.current(ctx, c, holder)
	if err != nil {
		return Material{}, err
	}
	return carry(m, c.name, holder, h), nil
}

// carry adds a token to what is fixed, in place of a header of the same name.
func carry(m Material, name, holder string, h held) Material {
	fixed := slices.DeleteFunc(slices.Clone(m.Headers), func(h Header) bool { return strings.EqualFold(h.Name, "Authorization") })
	m.Headers = append(fixed, Header{Name: "Authorization", Value: "Bearer " + h.tokens.AccessToken})
	m.Name, m.Holder, m.Generation = name, holder, h.generation
	return m
}

// ConnectURL is the page of the console on which the holder, or an admin in their
// place, connects an account; "" where there is no console.
func ConnectURL(consoleURL, server, name, holder string) string {
	if consoleURL == "" {
		return ""
	}
	u := strings.TrimSuffix(consoleURL, "/") + "/connect/" + url.PathEscape(server) + "/" + url.PathEscape(name)
	if holder != "" {
		u += "?" + url.Values{"holder": {holder}}.Encode()
	}
	return u
}
