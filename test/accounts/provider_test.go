package accounts

import (
	"bufio"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/parts"
)

//go:embed provider.mjs
var providerScript []byte

// provider is a real authorization server, of Node's oidc-provider.
type provider struct {
	issuer string

	mu      sync.Mutex
	granted map[string]int
}

// startProvider starts one that gives tokens for the resource.
func startProvider(t *testing.T, resource, scope string) *provider {
	t.Helper()
	node, dir := parts.OIDCProvider(t)
	// Beside the packages, so that its imports are found.
	script := filepath.Join(dir, "accounts-"+filepath.Base(t.TempDir())+"-"+strings.ReplaceAll(t.Name(), "/", "-")+".mjs")
	if err := os.WriteFile(script, providerScript, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(script) })
	cmd := exec.CommandContext(t.Context(), node, script, resource, scope)
	var said strings.Builder
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
	p := &provider{issuer: lines.Text(), granted: map[string]int{}}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines.Scan() {
			p.mu.Lock()
			p.granted[lines.Text()]++
			p.mu.Unlock()
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
	if !strings.HasPrefix(p.issuer, "http://127.0.0.1:") {
		_ = in.Close()
		<-read
		_ = cmd.Wait()
		t.Fatalf("the provider says %q: %s", p.issuer, said.String())
	}
	return p
}

// grants waits until as many of a grant type have succeeded, and a little longer for
// more than that.
func (p *provider) grants(t *testing.T, grant string, want int) {
	t.Helper()
	count := func() int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.granted[grant]
	}
	for deadline := time.Now().Add(patience); count() < want && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond)
	if n := count(); n != want {
		t.Errorf("%d of grant type %s, want %d", n, grant, want)
	}
}
