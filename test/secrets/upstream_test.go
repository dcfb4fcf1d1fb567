package secrets

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
)

// upstream has MCP servers, one below each path. It is a witness of all that it is
// sent, and its server "echo" repeats what it was sent.
type upstream struct {
	*testing.T
	*httptest.Server
	l       *ledger
	machine atomic.Bool // the server machine has refused a token
	people  atomic.Bool // and the server people
}

func newUpstream(t *testing.T, l *ledger, issuer func() string) *upstream {
	t.Helper()
	u := &upstream{T: t, l: l}
	mux := http.NewServeMux()
	mux.HandleFunc("/.well-known/oauth-protected-resource/people", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{"resource": u.URL + "/people", "authorization_servers": []string{issuer()}})
	})
	mux.HandleFunc("POST /{server}", u.serve)
	mux.HandleFunc("POST /hooks/{path}", u.hook)
	u.Server = httptest.NewServer(mux)
	t.Cleanup(u.Close)
	return u
}

// message is what the server reads of a frame.
type message struct {
	ID     json.RawMessage
	Method string
	Params struct{ Name string }
}

func (u *upstream) serve(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var headers bytes.Buffer
	_ = r.Header.Write(&headers)
	query := r.URL.Query()
	for _, values := range query {
		u.l.saw(byUpstream, values...)
	}
	var decoded any
	_ = json.Unmarshal(body, &decoded)
	u.l.saw(byUpstream, headers.String(), fmt.Sprint(decoded))

	var m message
	if err := json.Unmarshal(body, &m); err != nil {
		u.Errorf("the upstream is sent %q", body)
	}
	bearer := r.Header.Get("Authorization")
	switch server := r.PathValue("server"); {
	case server == "people" && bearer == "":
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+u.URL+`/.well-known/oauth-protected-resource/people"`)
		w.WriteHeader(http.StatusUnauthorized)
	case server == "machine" && m.Method == "tools/call" && !u.machine.Swap(true), server == "people" && m.Params.Name == "again" && !u.people.Swap(true):
		w.WriteHeader(http.StatusUnauthorized) // once: the token has to be renewed
	case server == "echo" && m.Method == "tools/call":
		u.echo(w, m, bearer)
	case m.ID == nil:
		w.WriteHeader(http.StatusAccepted)
	default:
		answer(w, http.StatusOK, map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": result(m.Method)})
	}
}

func result(method string) any {
	switch method {
	case "initialize":
		return map[string]any{"protocolVersion": "2025-11-25", "capabilities": map[string]any{"tools": map[string]any{}}, "serverInfo": map[string]any{"name": "up", "version": "1"}}
	case "tools/list":
		var tools []any
		for _, name := range []string{"look", "pay", "wipe", "again", "challenge", "forbidden", "redirect", "text", "headers", "malformed", "type", "body"} {
			tools = append(tools, map[string]any{"name": name, "inputSchema": map[string]any{"type": "object"}})
		}
		return map[string]any{"tools": tools}
	}
	return map[string]any{"content": []any{map[string]any{"type": "text", "text": "done"}}}
}

// echo repeats the credential in each place where a careless server would.
func (u *upstream) echo(w http.ResponseWriter, m message, bearer string) {
	switch m.Params.Name {
	case "challenge":
		w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token", error_description="`+strings.ReplaceAll(bearer, `"`, `\"`)+`"`)
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, bearer)
	case "forbidden":
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, bearer)
	case "redirect":
		w.Header().Set("Location", u.URL+"/plain?token="+bearer)
		w.WriteHeader(http.StatusFound)
	case "text":
		w.WriteHeader(http.StatusInternalServerError)
		fmt.Fprint(w, "cannot handle ", bearer)
	case "headers":
		w.Header().Set("X-Debug", bearer)
		w.Header().Set("Set-Cookie", "debug="+base64.RawURLEncoding.EncodeToString([]byte(bearer)))
		w.Header().Set("Retry-After", bearer)
		answer(w, http.StatusOK, map[string]any{"jsonrpc": "2.0", "id": m.ID, "result": result("")})
	case "malformed":
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":{"a":1,"a":%q}}`, bearer)
	case "type":
		w.Header().Set("Content-Type", "text/"+bearer)
		fmt.Fprint(w, bearer)
	case "body":
		answer(w, http.StatusBadRequest, map[string]any{"jsonrpc": "2.0", "id": m.ID, "error": map[string]any{"code": -32000, "message": "bad credential " + bearer}})
	default:
		u.Errorf("echo what by %q?", m.Params.Name)
	}
}

// hook receives webhooks: it checks the signature of one, and refuses the other.
func (u *upstream) hook(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	u.l.saw(byReceiver, r.PathValue("path"))
	if r.PathValue("path") == u.l.of("path of a webhook that fails") {
		w.WriteHeader(http.StatusGone)
		fmt.Fprint(w, r.URL)
		return
	}
	mac := hmac.New(sha256.New, []byte(u.l.of("secret of a webhook")))
	fmt.Fprintf(mac, "%s.%s.%s", r.Header.Get("Webhook-Id"), r.Header.Get("Webhook-Timestamp"), body)
	if r.Header.Get("Webhook-Signature") == "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil)) {
		u.l.use(byReceiver, "secret of a webhook")
	}
}

// The test's own binary is the upstream server that is a command: it writes what is
// in its environment to where its witness reads it, and to its standard error.
const (
	envChild   = "SECRETS_TEST_CHILD"
	envWitness = "SECRETS_TEST_WITNESS"
)

func TestMain(m *testing.M) {
	if os.Getenv(envChild) == "" {
		os.Exit(m.Run())
	}
	said := os.Getenv("FIXED") + "\n" + os.Getenv("KEPT")
	fmt.Fprintln(os.Stderr, "I was started with "+said)
	if err := os.WriteFile(os.Getenv(envWitness), []byte(said), 0o600); err != nil {
		os.Exit(1)
	}
	for d := json.NewDecoder(os.Stdin); ; {
		var in message
		if d.Decode(&in) != nil {
			return
		}
		if in.ID != nil {
			_ = json.NewEncoder(os.Stdout).Encode(map[string]any{"jsonrpc": "2.0", "id": in.ID, "result": result(in.Method)})
		}
	}
}
