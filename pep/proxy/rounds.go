package proxy

import (
	"fmt"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// rounds decides on each request for input in an input_required result (MCP
// 2026-07-28, patterns, multi round-trip requests). If one is refused, the
// whole result is: the answer that is returned takes its place.
func (a *act) rounds(f *mcp.Frame) (refusal []byte) {
	requests, err := mcp.ReadInputRequests(f, a.limits())
	if err != nil {
		a.out.Error = "answer refused: inputRequests"
		return mcp.Failed(f.ID, "The server's questions could not be read with certainty.")
	}
	var allowed []*v1.DecideResponse
	for _, r := range requests {
		d := a.ask(a.toClient(&mcp.Frame{
			Bytes: r.Params, Kind: mcp.KindRequest, ID: f.ID, Method: r.Method, Params: r.Params,
		}))
		if d.GetEffect() != v1.Effect_EFFECT_ALLOW {
			refusal = a.refuseRounds(f, r.Method, d)
			break
		}
		allowed = append(allowed, d)
	}
	for _, d := range allowed {
		a.passed(d, &v1.Outcome{Forwarded: refusal == nil})
	}
	return refusal
}

func (a *act) refuseRounds(f *mcp.Frame, method string, d *v1.DecideResponse) []byte {
	a.out.Error = "answer refused: " + method
	reason := fmt.Sprintf("The server asks the client for %s, which is refused. %s", method, d.GetReason())
	if !a.isAnswer(f) {
		return mcp.Failed(f.ID, reason)
	}
	return mcp.Denied(a.frame, reason, shown(d))
}
