package accounts

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/provider"
)

// together runs f so many times at once.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// TestReplicasAreOneHolderOfAnAccount: whatever 200 calls at once over three replicas
// come upon, one refresh is made, and each of them passes.
func TestReplicasAreOneHolderOfAnAccount(t *testing.T) {
	server := startProtected(t)
	given := startProvider(t, server, func(o *provider.Options) {
		o.First = 3
		o.Delay = 500 // so that all replicas are at it at the same time
	})
	f := newFront(t, "protected", server.withAccounts(), 3, nil)
	f.classify()
	token := f.agentOf("vera")
	p := f.connect("vera", f.call(1, token, "whoami").link(t))
	storm := func(when string) {
		t.Helper()
		together(200, func(i int) {
			if text, ok := f.call(i%3, token, "whoami").text(); !ok || text != "vera-at-the-provider" {
				t.Errorf("%s: %s", when, text)
			}
		})
	}

	time.Sleep(3 * time.Second) // which the token was good for
	storm("the token has run out")
	given.Grants(t, "authorization_code", 1)
	given.Grants(t, "refresh_token", 1)

	server.refuseLast(false)
	storm("the server takes the token no more")
	given.Grants(t, "refresh_token", 2)

	calls := 0
	for _, g := range f.gateways {
		calls += f.completed(g, "whoami")
	}
	if calls != 400 {
		t.Errorf("%d calls are on record as allowed and answered, want 400", calls)
	}

	p.open(f.gateways[0].AdminURL + "/accounts")
	p.submit("/accounts/disconnect", nil)
	disconnected := time.Now()
	p.shows("No account is connected.")
	time.Sleep(time.Until(disconnected.Add(time.Second)))
	for i := range f.gateways {
		if a := f.call(i, token, "whoami"); !a.Result.IsError || !strings.Contains(a.raw, "[ACCOUNT NEEDED] ") {
			t.Errorf("replica %d, a second after the account was disconnected: %s", i, a.raw)
		}
	}
	f.keepsApart(token, server.arrivals(""))
}
