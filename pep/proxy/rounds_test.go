package proxy

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func TestInputRequestsAreDecided(t *testing.T) {
	var questions string
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
		if member([]byte(body), "method") == "tools/list" {
			tools(w, r, body)
			return
		}
		replyJSON(w, result(idOf(body), `{"resultType":"input_required","inputRequests":`+questions+`,"requestState":"x"}`))
	})
	pdp := &fakePDP{rule: func(r *v1.DecideRequest) *v1.DecideResponse {
		if r.GetMethod() == "sampling/createMessage" {
			return deny(v1.ReasonCode_REASON_CODE_POLICY, "No sampling.")
		}
		return allow()
	}}
	g := newGateway(t, up.URL, pdp)
	for _, c := range []struct{ name, questions, want string }{
		{"allowed", `{"a":{"method":"roots/list"},"b":{"method":"elicitation/create","params":{"mode":"form"}}}`, `"inputRequests":{"a"`},
		{"one denied", `{"a":{"method":"roots/list"},"b":{"method":"sampling/createMessage","params":{}}}`, `[POLICY DENIED] The server asks the client for sampling/createMessage, which is refused. No sampling."}],"isError":true,"resultType":"complete"`},
		{"no method", `{"a":{}}`, "could not be read with certainty"},
		{"two readings", `{"a":{"method":"roots/list","Method":"sampling/createMessage"}}`, "could not be read with certainty"},
		{"a method of the client", `{"a":{"method":"tools/call","params":{"name":"x"}}}`, "could not be read with certainty"},
		{"no object", `{"a":"roots/list"}`, "could not be read with certainty"},
	} {
		questions = c.questions
		body, header := modern("1", "tools/call", `"name":"echo","arguments":{}`)
		if got := g.post(t, body, header...); got.Status != 200 || !strings.Contains(got.Body, c.want) {
			t.Errorf("%s: %d %s", c.name, got.Status, got.Body)
		}
	}
	if diff := cmp.Diff([]string{"tools/call echo", "<- roots/list", "<- elicitation/create", "tools/call echo", "<- roots/list", "<- sampling/createMessage"}, pdp.questions()[:6]); diff != "" {
		t.Errorf("decisions (-want +got):\n%s", diff)
	}
}
