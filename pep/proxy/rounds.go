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
	var allowed []*v1.DecideResponse
	whole := members(f.InputRequests, func(_ string, raw []byte) bool {
		request, err := mcp.Read(inputRequest(raw), mcp.ToClient, a.limits())
		if err != nil || request.Kind != mcp.KindRequest {
			return false
		}
		q := a.toClient(request)
		q.Id = string(f.ID)
		d := a.ask(q)
		if d.GetEffect() != v1.Effect_EFFECT_ALLOW {
			refusal = a.refuseRounds(f, request.Method, d)
			return false
		}
		allowed = append(allowed, d)
		return true
	})
	if refusal == nil && (!whole || len(allowed) != count(f.InputRequests)) {
		a.out.Error = "answer refused: inputRequests"
		refusal = mcp.Failed(f.ID, "The server's questions could not be read with certainty.")
	}
	for _, d := range allowed {
		a.passed(d, &v1.Outcome{Forwarded: refusal == nil})
	}
	return refusal
}

// inputRequest makes a whole request of one that stands inside a result, so
// that it is read as strictly.
func inputRequest(raw []byte) []byte {
	if len(raw) == 0 || raw[0] != '{' {
		return raw
	}
	return append([]byte(`{"jsonrpc":"2.0","id":0,`), raw[1:]...)
}

func count(object []byte) (n int) {
	members(object, func(string, []byte) bool { n++; return true })
	return n
}

func (a *act) refuseRounds(f *mcp.Frame, method string, d *v1.DecideResponse) []byte {
	a.out.Error = "answer refused: " + method
	reason := fmt.Sprintf("The server asks the client for %s, which is refused. %s", method, d.GetReason())
	if !a.isAnswer(f) {
		return mcp.Failed(f.ID, reason)
	}
	return mcp.Denied(a.frame, reason, shown(d))
}
