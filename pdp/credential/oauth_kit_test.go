package credential

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// replicas are brokers over one vault.
type replicas struct {
	*testing.T
	auth    *authServer
	shelf   *shelf
	brokers []*Broker
	vaults  []*shelfVault
	log     *bytes.Buffer
}

// newReplicas makes n brokers of the upstream "mcp" and runs them.
func newReplicas(t *testing.T, n int, auth *authServer, u Upstream, change ...func(*BrokerOptions)) *replicas {
	t.Helper()
	r := &replicas{T: t, auth: auth, shelf: newShelf(), log: &bytes.Buffer{}}
	logs := slog.New(slog.NewTextHandler(&guarded{w: r.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for i := range n {
		v := &shelfVault{shelf: r.shelf, replica: fmt.Sprint(i)}
		o := BrokerOptions{
			Servers: map[string]Upstream{"mcp": u}, ConsoleURL: "https://console.example", Vault: v, List: r.shelf.list,
			HTTP: &http.Client{Transport: auth}, Discovered: &http.Client{Transport: auth}, Log: logs,
		}
		for _, c := range change {
			c(&o)
		}
		b, err := NewBroker(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan struct{})
		go func() {
			defer close(ran)
			b.Run(ctx)
		}()
		t.Cleanup(func() {
			cancel()
			<-ran
			b.Close()
		})
		r.brokers, r.vaults = append(r.brokers, b), append(r.vaults, v)
	}
	return r
}

// guarded is a writer for many.
type guarded struct {
	mu sync.Mutex
	w  io.Writer
}

func (g *guarded) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.w.Write(b)
}

// accounts is an upstream whose accounts are connected.
func accounts(a Account) Upstream {
	return Upstream{URL: theServer, Credentials: map[string]Brokered{"own": {Account: &a}}}
}

var adas = AccountRef{Server: "mcp", Name: "own", Holder: "ada"}

// connect connects the account of ada at the first broker.
func (r *replicas) connect() {
	r.Helper()
	r.must(r.brokers[0].connectFor(r.Context(), r.auth, adas, "ada"))
}

func (b *Broker) connectFor(ctx context.Context, s *authServer, a AccountRef, person string) error {
	o, err := b.Offer(ctx, a)
	if err != nil {
		return err
	}
	address, err := b.Begin(ctx, a, person, o.Terms())
	if err != nil {
		return err
	}
	authorized, err := b.Finish(ctx, person, s.authorize(address))
	if err != nil {
		return err
	}
	return authorized.Connect(ctx)
}

func (r *replicas) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// get is what ada's calls carry, by the replica.
func (r *replicas) get(replica int) (Material, error) {
	return r.brokers[replica].For(r.Context(), Request{Server: "mcp", Holder: "ada"})
}

// carries holds that a material carries a token, and returns it.
func carries(t *testing.T, m Material, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range m.Headers {
		if token, ok := strings.CutPrefix(h.Value, "Bearer "); ok && h.Name == "Authorization" && token != "" {
			return token
		}
	}
	t.Fatalf("no token among %d headers", len(m.Headers))
	return ""
}

// needs holds that an error asks for ada's account.
func needs(t *testing.T, err error) {
	t.Helper()
	var needed *AccountNeeded
	if !errors.As(err, &needed) || *needed != (AccountNeeded{Server: "mcp", Name: "own", Holder: "ada"}) {
		t.Errorf("the error is %v, want that ada's account is needed", err)
	}
}

// For and Renew make fixed headers a source.
func (v valuesOf) For(context.Context, Request) (Material, error) { return Material{Headers: v}, nil }

func (v valuesOf) Renew(context.Context, Request, int64) (Material, error) {
	return Material{Headers: v}, nil
}

func mustParse(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
