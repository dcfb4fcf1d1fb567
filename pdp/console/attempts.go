package console

import (
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	attemptEvery = 3 * time.Second // how often one address may try to sign in
	attemptBurst = 20              // and how often at once
	maxAddresses = 10_000          // that are told apart
)

// attempts bounds how often one address tries to sign in. Secrets can't be
// guessed; this keeps the trying from costing much.
type attempts struct {
	now func() time.Time

	mu     sync.Mutex
	byAddr map[string]*rate.Limiter
}

func newAttempts(now func() time.Time) *attempts {
	return &attempts{now: now, byAddr: map[string]*rate.Limiter{}}
}

func (a *attempts) allow(r *http.Request) bool {
	addr := r.RemoteAddr
	if ap, err := netip.ParseAddrPort(addr); err == nil {
		addr = network(ap.Addr())
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	l := a.byAddr[addr]
	if l == nil {
		a.makeRoom()
		l = rate.NewLimiter(rate.Every(attemptEvery), attemptBurst)
		a.byAddr[addr] = l
	}
	return l.AllowN(a.now(), 1)
}

// network is what one party has: an address, or with IPv6 a network of them.
func network(a netip.Addr) string {
	if a = a.Unmap(); a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}

// makeRoom forgets the addresses that have not tried for long.
func (a *attempts) makeRoom() {
	if len(a.byAddr) < maxAddresses {
		return
	}
	for addr, l := range a.byAddr {
		if l.TokensAt(a.now()) >= attemptBurst {
			delete(a.byAddr, addr)
		}
	}
	if len(a.byAddr) >= maxAddresses {
		clear(a.byAddr) // so many addresses at once are an attack on this map
	}
}
