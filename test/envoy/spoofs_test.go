package envoy

import (
	"testing"

	"github.com/mcpermit/mcpermit/test/attacks/spoofs"
	"github.com/mcpermit/mcpermit/test/gateway"
	"github.com/mcpermit/mcpermit/test/parts"
)

// TestI10_NobodyIsIdentifiedByWhatRequestsSayOfThemselves sends requests with
// headers that claim an identity through an Envoy.
func TestI10_NobodyIsIdentifiedByWhatRequestsSayOfThemselves(t *testing.T) {
	s := spoofs.NewStage(t, "../attacks/policy", func(g *gateway.Gateway) { g.Envoy(t, parts.Of(t).Envoy) })
	s.Answers = true
	s.Play(t)
}
