package envoy

import (
	"strings"
	"testing"
)

// A retry could not be changed on its way through Envoy, so nobody is asked to
// make one: not even by a PDP that has sealed a state for it.
func TestBehindAnEnvoyAnApprovalIsAskedForInWords(t *testing.T) {
	s := newSeam(t)
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"refund","arguments":{},"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"url":{}}}}}}`
	res := s.check(t, ask(call, append([]string{"mcp-protocol-version", "2026-07-28", "mcp-method", "tools/call", "mcp-name", "refund"}, authorized...)...))
	const words = `[APPROVAL NEEDED] No.\nApproval ap1 is needed at https://gate.example/approvals/ap1, then repeat the same call.`
	if body := res.GetDeniedResponse().GetBody(); !strings.Contains(body, words) || strings.Contains(body, "input_required") {
		t.Errorf("%s", body)
	}
	for _, q := range s.decider.asked {
		if q.GetApprovalRound() != nil {
			t.Errorf("%s was put to the PDP with a round", q.GetMethod())
		}
	}
}
