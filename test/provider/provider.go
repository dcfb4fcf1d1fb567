// Package provider runs a real authorization server for tests: Node's oidc-provider.
package provider

import (
	"bufio"
	"bytes"
	"cmp"
	_ "embed"
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/parts"
)

//go:embed provider.mjs
var script []byte

// patience is how long an answer may take on a machine that does much else.
const patience = 30 * time.Second

// Options are what a provider is to be. In the zero value whoever says a login is
// let in, clients register themselves, and tokens are good for an hour and for
// whatever resource is asked for.
type Options struct {
	// Clients are registered from the start, by their metadata.
	Clients []map[string]any `json:"clients"`
	// People are claims by login; nil: everybody, without claims.
	People map[string]any `json:"people,omitempty"`
	// Login is who sits at the browser of every client, and agrees to all that is
	// asked; "" shows pages.
	Login string `json:"login,omitempty"`
	// Scopes beside those of OpenID Connect.
	Scopes []string `json:"scopes"`
	// Resources that tokens can be for, the default first; nil: any.
	Resources []string `json:"resources,omitempty"`
	// TTL is how many seconds an access token is good, First how many the one is that
	// comes for a code. Default of TTL an hour, of First TTL.
	TTL   int `json:"ttl"`
	First int `json:"first,omitempty"`
	// Delay is how many milliseconds its token endpoint takes at least.
	Delay int `json:"delay,omitempty"`
}

// Provider is one that runs.
type Provider struct {
	Issuer string

	mu      sync.Mutex
	granted map[string]int
}

// Start runs one until the test ends.
func Start(t testing.TB, o Options) *Provider {
	t.Helper()
	o.TTL = cmp.Or(o.TTL, 3600)
	o.Scopes = append([]string{}, o.Scopes...)           // [] and not null
	o.Clients = append([]map[string]any{}, o.Clients...) // likewise
	settings, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	node, file := place(t)
	cmd := exec.Command(node, file, string(settings))
	var said bytes.Buffer
	cmd.Stderr = &said
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	lines.Scan()
	p := &Provider{Issuer: lines.Text(), granted: map[string]int{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			p.count(lines.Text())
		}
	}()
	t.Cleanup(func() {
		_ = in.Close() // with which it ends
		<-read
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("the provider says: %s", said.String())
		}
	})
	if !strings.HasPrefix(p.Issuer, "http://127.0.0.1:") {
		t.Fatalf("the provider did not start: %q", p.Issuer)
	}
	return p
}

// place puts the script beside the packages, so that its imports are found.
func place(t testing.TB) (node, file string) {
	t.Helper()
	node, dir := parts.OIDCProvider(t)
	f, err := os.CreateTemp(dir, "provider-*.mjs")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(f.Name()) })
	if _, err := f.Write(script); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return node, f.Name()
}

func (p *Provider) count(answer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.granted[answer]++
}

// Granted is how often the token endpoint has answered so far: by grant type, and by
// "GRANT_TYPE ERROR" where it has refused.
func (p *Provider) Granted() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.granted)
}

// Grants waits until the token endpoint has given as many for a grant type, and a
// little longer for more than that. It must have refused none of the type.
func (p *Provider) Grants(t testing.TB, grant string, want int) {
	t.Helper()
	for deadline := time.Now().Add(patience); p.Granted()[grant] < want && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	granted := p.Granted()
	for answer, n := range granted {
		if strings.HasPrefix(answer, grant+" ") {
			t.Errorf("%d times %s", n, answer)
		}
	}
	if n := granted[grant]; n != want {
		t.Errorf("%d of grant type %s, want %d", n, grant, want)
	}
}
