package proxy

import (
	"net/http"
	"strings"
	"testing"
)

// introducing is a server with three tools that introduces itself with the
// text, as raw JSON, and opens a session where it is given a name for one.
func introducing(session func() string, text *string) func(w http.ResponseWriter, r *http.Request, body string) {
	return func(w http.ResponseWriter, r *http.Request, body string) {
		switch method := member([]byte(body), "method"); method {
		case "initialize", "server/discover":
			if id := session(); id != "" && method == "initialize" {
				w.Header().Set("Mcp-Session-Id", id)
			}
			replyJSON(w, introduction(idOf(body), *text))
		default:
			tools(w, r, body)
		}
	}
}

func introduction(id, text string) string {
	return result(id, ` {"protocolVersion":"2025-11-25" , "instructions": `+text+`,"serverInfo":{"name":"x","version":"1"}}`)
}

func none() string { return "" }

// TestI3_InstructionsNameNothingHidden has a server that introduces itself with
// the names of its tools.
func TestI3_InstructionsNameNothingHidden(t *testing.T) {
	var text string
	up := newServer(t, introducing(none, &text))
	pdp := &fakePDP{hidden: map[string]bool{"secret": true}}
	g := newGateway(t, up.URL, pdp)
	for _, c := range []struct{ text, want string }{
		{`"Use echo, then sum."`, `"Use echo, then sum."`},
		{`"Use \u0073ecret."`, `""`},
		{`"SECRET first"`, `""`},
		{`"(secret)"`, `""`},
		{`"a secretary keeps it, in_secret"`, `"a secretary keeps it, in_secret"`},
		{`""`, `""`},
		{`null`, `null`},
		{`{"secret":1}`, `{"secret":1}`},
	} {
		text = c.text
		for _, token := range []string{"alice", "bob"} {
			if got := g.post(t, initialize, "Authorization", "Bearer "+token); got.Body != introduction("0", c.want) {
				t.Errorf("%s: %s reads\n%s, want\n%s", c.text, token, got.Body, introduction("0", c.want))
			}
		}
	}
	text = `"Use echo."`
	pdp.broken = true
	if got := g.post(t, initialize); got.Body != introduction("0", `""`) {
		t.Errorf("I1: without a decision the client reads\n%s", got.Body)
	}
}

// TestI3_InstructionsOfASession: what a server lists cannot be asked for while a
// session opens, and is known from an earlier one.
func TestI3_InstructionsOfASession(t *testing.T) {
	text, sessions := `"Use secret."`, "ab"
	up := newServer(t, introducing(func() string {
		id := sessions[:1]
		sessions = sessions[1:]
		return id
	}, &text))
	g := newGateway(t, up.URL, &fakePDP{hidden: map[string]bool{"secret": true}})
	first := g.post(t, initialize)
	if got := g.post(t, `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, "Mcp-Session-Id", first.Header.Get("Mcp-Session-Id")); strings.Contains(got.Body, "secret") || !strings.Contains(got.Body, "echo") {
		t.Fatalf("listed %s", got.Body)
	}
	if got := g.post(t, initialize); got.Header.Get("Mcp-Session-Id") != "b" || got.Body != introduction("0", `""`) {
		t.Errorf("the second session begins with\n%s", got.Body)
	}
}
