package e2e

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// TestI3_I4_ThroughEnvoy runs every pair that meets over HTTP through a real
// Envoy, with the same checks as through `mcpermit up`.
func TestI3_I4_ThroughEnvoy(t *testing.T) {
	configured := map[string]any{}
	var commands []string
	for _, s := range fleet.all {
		configured[s.name] = s.configuration()
		if s.url == "" {
			commands = append(commands, s.name)
		}
	}
	g := gateway.Prepare(t, gateway.Config{Policy: "policies", Servers: configured})
	e := g.Envoy(t, installed.Envoy)
	w := newWitness(t, g, slices.Collect(maps.Keys(configured)))

	t.Run("pairs", func(t *testing.T) {
		eachPair(t, throughEnvoy(clients("")), func(t *testing.T, c client, s server) {
			if slices.Contains(commands, s.name) {
				nowhere(t, w, s) // Envoy starts no commands
				return
			}
			w.pair(t, c, s)
		})
	})
	w.judge(t, map[string]*gateway.Process{"mcpermit pdp": g.Process, "mcpermit-pep envoy": e.PEP, "Envoy": e.Process})
	if names := strings.Join(commands, " "); names != "everything-stdio filesystem git time" {
		t.Errorf("out of Envoy's reach: %s", names)
	}
}

// throughEnvoy leaves out pep-stdio and pep-stdio-legacy: they have an
// enforcement point of their own between themselves and the server, and there
// is no Envoy on their way.
func throughEnvoy(all []client) []client {
	return slices.DeleteFunc(all, func(c client) bool { return !c.http })
}

// nowhere holds that a server without a URL is one that Envoy does not know,
// whoever asks.
func nowhere(t *testing.T, w *witness, s server) {
	t.Helper()
	req, err := http.NewRequest(http.MethodPost, w.g.Endpoint(s.name), strings.NewReader(`{"jsonrpc":"2.0","id":1,"method":"tools/list"}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{"Authorization": {"Bearer " + w.token}, "Content-Type": {"application/json"}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusNotFound || !bytes.HasPrefix(body, []byte("not found; ")) {
		t.Errorf("%s: %s %s %v", s.name, res.Status, body, err)
	}
}
