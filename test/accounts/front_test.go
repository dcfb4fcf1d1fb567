package accounts

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/test/databases"
	"github.com/mcpermit/mcpermit/test/gateway"
)

// front is the whole program before one server, once or as replicas. All of them send
// people to the console of the first.
type front struct {
	*testing.T
	server   string // its name
	gateways []*gateway.Gateway
	http     *http.Client
}

// newFront starts the program so many times, over one database where it is several.
// The server is as the configuration has it; change, if it is not nil, adds to the
// keys of that.
func newFront(t *testing.T, name string, server map[string]any, replicas int, change func(g *gateway.Gateway, keys map[string]any)) *front {
	t.Helper()
	f := &front{T: t, server: name, http: &http.Client{Timeout: patience, Transport: &http.Transport{MaxIdleConnsPerHost: 100}}}
	t.Cleanup(f.http.CloseIdleConnections)
	keys := map[string]any{
		"people": []any{map[string]any{"id": "vera"}, map[string]any{"id": "ada"}, map[string]any{"id": "bea"}},
		// The provider is on this machine, and speaks http.
		"egress": map[string]any{"allow": []string{"127.0.0.0/8"}, "http": true},
		"log":    map[string]any{"level": "debug"},
	}
	if replicas > 1 {
		keys["state"] = map[string]any{"database": databases.Postgres(t).Database(t)}
		keys["vault"] = map[string]any{"master_key": "file:" + newKeyFile(t)}
	}
	for i := range replicas {
		g := gateway.Prepare(t, gateway.Config{Policy: "policy", Extra: keys, Servers: map[string]any{name: server}})
		f.gateways = append(f.gateways, g)
		own := map[string]any{"pdp": map[string]any{"address": g.PDP, "deadline": "20s"}, "console": map[string]any{"url": f.gateways[0].AdminURL}}
		if change != nil {
			change(g, own)
		}
		f.gateways[i].Configure(t, own)
	}
	together(replicas, func(i int) { f.gateways[i].Up(t) })
	if t.Failed() {
		t.FailNow()
	}
	return f
}

// newKeyFile makes a master key.
func newKeyFile(t *testing.T) string {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	name := filepath.Join(t.TempDir(), "master.key")
	if err := os.WriteFile(name, []byte(base64.StdEncoding.EncodeToString(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// grant makes one and returns its token.
func (f *front) grant(args ...string) string {
	f.Helper()
	var grant struct{ Token string }
	f.read(&grant, append([]string{"grants", "create", "--server", f.server}, args...)...)
	return grant.Token
}

// agentOf is the token of an agent that belongs to a person.
func (f *front) agentOf(person string) string {
	f.Helper()
	return f.grant("--subject", "agent:of-"+person, "--owner", person)
}

// read has the command line say something.
func (f *front) read(into any, args ...string) {
	f.Helper()
	if err := json.Unmarshal(f.gateways[0].CLI(f, append(args, "-o", "json")...), into); err != nil {
		f.Fatal(err)
	}
}

// classify says what the tools do.
func (f *front) classify() {
	f.Helper()
	name := filepath.Join(f.TempDir(), "classes.yaml")
	if err := os.WriteFile(name, []byte("protected: {whoami: read, balance: read, charge: financial}"), 0o600); err != nil {
		f.Fatal(err)
	}
	f.gateways[0].CLI(f, "servers", "classify", name)
}

// as signs somebody in to the console, by the link of the command line.
func (f *front) as(person string) *person {
	f.Helper()
	var link struct{ URL string }
	f.read(&link, "console", "login", "--as", person)
	return signIn(f.T, link.URL)
}

// connect has a person connect an account, and returns what they look at then.
func (f *front) connect(person, link string) *person {
	f.Helper()
	p := f.as(person)
	p.open(link)
	p.submit("/connect/protected/own", nil)
	p.agree(person + "-at-the-provider")
	p.shows("Connected. Calls carry the account from now on.")
	return p
}

// connected is the token of an agent whose owner has connected an account.
func (f *front) connected(person string) string {
	f.Helper()
	token := f.agentOf(person)
	f.connect(person, f.call(0, token, "whoami").link(f.T))
	return token
}

// answer is what a client gets.
type answer struct {
	status int
	raw    string
	Error  struct {
		Code    int
		Message string
	}
	Result struct {
		IsError bool
		Content []struct{ Text string }
		Tools   []struct{ Name string }
		Meta    map[string]any `json:"_meta"`
	}
}

// text is that of a tool's result, of one that is no error.
func (a answer) text() (text string, ok bool) {
	if a.status != http.StatusOK || a.Error.Code != 0 || a.Result.IsError || len(a.Result.Content) == 0 {
		return a.raw, false
	}
	return a.Result.Content[0].Text, true
}

// is holds that a tool said the text.
func (a answer) is(t *testing.T, want string) {
	t.Helper()
	if text, ok := a.text(); !ok || text != want {
		t.Errorf("the answer is %s, want %s", text, want)
	}
}

var connectLink = regexp.MustCompile(`http://[^\s"\\;,]+/connect/[^\s"\\;,]+`)

// link is the address to which the answer sends the person.
func (a answer) link(t *testing.T) string {
	t.Helper()
	link := connectLink.FindString(a.raw)
	if link == "" {
		t.Fatalf("the answer has no link: %s", a.raw)
	}
	return link
}

const modernMeta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"},"io.modelcontextprotocol/clientCapabilities":{}}`

// call calls a tool through a replica, as a client of 2026-07-28.
func (f *front) call(replica int, token, tool string) answer {
	f.Helper()
	return f.callAt(f.gateways[replica].Endpoint(f.server), token, tool)
}

func (f *front) callAt(url, token, tool string) answer {
	f.Helper()
	return f.post(url, token, `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"`+tool+`","arguments":{},`+modernMeta+`}}`,
		"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/call", "Mcp-Name", tool)
}

// list asks for the tools, likewise.
func (f *front) list(token string) answer {
	f.Helper()
	return f.post(f.gateways[0].Endpoint(f.server), token, `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{`+modernMeta+`}}`,
		"Mcp-Protocol-Version", "2026-07-28", "Mcp-Method", "tools/list")
}

// initialize begins a session, as a client of 2025-11-25.
func (f *front) initialize(token string) answer {
	f.Helper()
	return f.post(f.gateways[0].Endpoint(f.server), token,
		`{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}`)
}

func (f *front) post(url, token, body string, header ...string) answer {
	f.Helper()
	req, err := http.NewRequestWithContext(f.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		f.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	res, err := f.http.Do(req)
	if err != nil {
		return answer{raw: err.Error()}
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return answer{raw: err.Error()}
	}
	a := answer{status: res.StatusCode, raw: fmt.Sprintf("%s %s", res.Status, b)}
	for line := range bytes.Lines(b) { // also as an event
		if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
			b = data
		}
	}
	if err := json.Unmarshal(b, &a); err != nil {
		a.status = 0
	}
	return a
}
