package mcp

import "github.com/go-json-experiment/json/jsontext"

// InputRequest is one entry of the inputRequests with which a server asks for
// something in the middle of a call (MCP 2026-07-28, patterns, multi round-trip
// requests).
type InputRequest struct {
	Key    string // server-assigned
	Method string // sampling/createMessage, elicitation/create or roots/list
	Params []byte // raw object, nil when absent
}

var inputRequestNode = branch(slotEnvelope, map[string]*node{
	"method": leaf(slotMethod),
	"params": paramsNode,
})

// ReadInputRequests reads the entries of a result's inputRequests, each of
// which is a request to the client in all but its envelope. The order is the
// server's. The error is a *Fault: an entry that cannot be read with certainty
// must not reach the client.
func ReadInputRequests(f *Frame, lim Limits) ([]InputRequest, error) {
	var all []InputRequest
	var fault *Fault
	eachMember(f.InputRequests, func(key string, raw jsontext.Value) {
		if fault != nil {
			return
		}
		var r InputRequest
		if r, fault = readInputRequest(raw, lim); fault == nil {
			r.Key = key
			all = append(all, r)
		}
	})
	if fault != nil {
		fault.ID, fault.Offset = f.ID, -1
		return nil, fault
	}
	return all, nil
}

func readInputRequest(raw []byte, lim Limits) (InputRequest, *Fault) {
	s := newScan(raw, ToClient, lim)
	defer s.release()
	s.document(inputRequestNode)
	f := &Frame{Kind: KindRequest}
	if s.fault == nil && s.extra[slotEnvelope] > 0 {
		s.fail(CodeInvalidRequest, RuleRounds, "an input request has a member besides method and params", s.extra[slotEnvelope])
	}
	if s.fault == nil {
		f.Method, _ = s.str(slotMethod)
		if !isInputMethod(f.Method) {
			s.fail(CodeInvalidRequest, RuleRounds, "an input request must be for sampling, elicitation or roots", s.found[slotMethod].at)
		}
	}
	if s.fault == nil {
		s.call(f)
	}
	return InputRequest{Method: f.Method, Params: f.Params}, s.fault
}

func isInputMethod(method string) bool {
	return method == methodSampling || method == methodElicitation || method == methodRoots
}
