package attacks

import (
	"testing"

	"github.com/mcpermit/mcpermit/test/attacks/spoofs"
	"github.com/mcpermit/mcpermit/test/gateway"
)

// TestI10_NobodyIsIdentifiedByWhatRequestsSayOfThemselves sends requests with
// headers that claim an identity to both kinds of listener.
func TestI10_NobodyIsIdentifiedByWhatRequestsSayOfThemselves(t *testing.T) {
	spoofs.NewStage(t, "policy", func(g *gateway.Gateway) { g.Up(t) }).Play(t)
}
