package secrets

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// patience is how long anything may take on a machine that does much else.
const patience = 30 * time.Second

// site is a running gateway with what stands around it.
type site struct {
	*testing.T
	*gateway.Gateway
	l         *ledger
	p         *places
	up        *upstream
	authority *authority
	dir       string // of files that are the administrator's
	name      string // in reports
}

// file writes one of the administrator's files and returns its path.
func (s *site) file(name, text string) string {
	s.Helper()
	path := filepath.Join(s.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

// command is one of the command line.
type command struct {
	args   []string
	stdin  string
	env    []string
	handed []string // canaries that its standard output is for
	fails  bool
	maybe  bool // it may fail as well
}

// cli runs a command against the gateway, and returns its standard output. What it
// prints is a place, and standard error never hands anything out.
func (s *site) cli(c command) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, gateway.Program(s, "mcpermit"), append([]string{"-c", s.ConfigFile}, c.args...)...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.Env = strings.NewReader(c.stdin), &stdout, &stderr, append(os.Environ(), c.env...)
	err := cmd.Run()
	what := s.name + ": mcpermit " + strings.Join(c.args[:min(2, len(c.args))], " ")
	s.p.add(inCLI, what, stdout.Bytes(), c.handed...)
	s.p.add(inCLI, what+", standard error", stderr.Bytes())
	exit := (*exec.ExitError)(nil)
	if failed := errors.As(err, &exit); failed != c.fails && !c.maybe || err != nil && !failed {
		s.Errorf("%s: %v\n%s%s", what, err, stdout.Bytes(), stderr.Bytes())
	}
	return stdout.String()
}

// run is cli for what has to succeed and hands nothing out.
func (s *site) run(args ...string) string {
	s.Helper()
	return s.cli(command{args: args})
}

// made is a grant as the command line prints it.
type made struct{ ID, Token string }

// grant has the command line make a grant, whose token is the canary.
func (s *site) grant(canary string, args ...string) made {
	s.Helper()
	return s.token(canary, command{args: append([]string{"grants", "create", "--subject", "ada", "--type", "person", "--server", "*", "-o", "json"}, args...)})
}

func (s *site) token(canary string, c command) made {
	s.Helper()
	c.handed = []string{canary}
	var m made
	if err := json.Unmarshal([]byte(s.cli(c)), &m); err != nil {
		s.Fatal(err)
	}
	s.l.keep(canary, m.Token)
	return m
}

// request is one of a client.
type request struct {
	path   string // below the gateway's URL
	token  string
	body   string
	header http.Header
	handed []string // canaries that the answer hands out
}

// answered is what a client is told.
type answered struct {
	status  int
	body    string
	session string
}

// send makes a request as a client of MCP does. All of the answer is a place.
func (s *site) send(r request) answered {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), http.MethodPost, s.URL+r.path, strings.NewReader(r.body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json, text/event-stream"}}
	if r.token != "" {
		req.Header.Set("Authorization", "Bearer "+r.token)
	}
	for name, values := range r.header {
		req.Header[name] = values
	}
	client := &http.Client{Timeout: patience, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.Do(req)
	if err != nil {
		s.Fatalf("%s: %v", r.path, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	var all bytes.Buffer
	_ = res.Header.Write(&all)
	all.Write(body)
	s.p.add(inAnswers, s.name+" "+r.path, all.Bytes(), r.handed...)
	return answered{res.StatusCode, string(body), res.Header.Get("Mcp-Session-Id")}
}

// call is the frame of a call.
func call(tool string, arguments map[string]any) string {
	if arguments == nil {
		arguments = map[string]any{}
	}
	frame, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": map[string]any{"name": tool, "arguments": arguments}})
	if err != nil {
		panic(err) // of a test's own values
	}
	return string(frame)
}

// calls has a tool of a server called, and says whether the server has answered.
func (s *site) calls(server, tool, token string, arguments map[string]any) bool {
	s.Helper()
	a := s.send(request{path: "/mcp/" + server + "/", token: token, body: call(tool, arguments)})
	return strings.Contains(a.body, `"text":"done"`)
}

// must wants the server's answer.
func (s *site) must(server, tool, token string, arguments map[string]any) {
	s.Helper()
	if !s.calls(server, tool, token, arguments) {
		s.Errorf("%s of %s: the server has not answered", tool, server)
	}
}

// judged holds that a token is good, or not, and is witness of it.
func (s *site) judged(canary string, good bool) {
	s.Helper()
	if got := s.calls("plain", "look", s.l.of(canary), nil); got != good {
		s.Errorf("%s: good is %v", canary, got)
		return
	}
	s.l.use(byGateway, canary)
}

// get fetches a page that everybody may have.
func (s *site) get(kind, address string) string {
	s.Helper()
	res, err := http.Get(address)
	if err != nil {
		s.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		s.Fatal(err)
	}
	s.p.add(kind, s.name+" "+address, body)
	return string(body)
}

// stop ends a program in order, and adds what it has written.
func (s *site) stop(name string, p *gateway.Process) {
	s.Helper()
	if err := p.Signal(os.Interrupt); err != nil {
		s.Fatal(err)
	}
	if err := p.Wait(patience); err != nil {
		s.Errorf("%s: %v", name, err)
	}
	s.p.add(inOutput, name, []byte(p.Output()))
}

// inspect has everything shown that the gateway shows by the command line.
func (s *site) inspect() {
	s.Helper()
	s.get(inMetrics, s.AdminURL+"/metrics")
	s.get(inMetrics, s.AdminURL+"/healthz")
	s.get(inMetrics, s.AdminURL+"/readyz")
	for _, output := range []string{"text", "json"} {
		for _, args := range [][]string{
			{"grants", "list"},
			{"approvals", "list", "--all"},
			{"credentials", "list"},
			{"quotas", "list"},
			{"servers", "list"},
			{"policy", "status"},
			{"policy", "replay", "policy"},
		} {
			s.run(append(args, "-o", output)...)
		}
		for _, args := range [][]string{{"query", "--limit", "0"}, {"query", "--acts", "--limit", "0"}} {
			s.p.add(inQuery, s.name, []byte(s.run(append(append([]string{"audit"}, args...), "-o", output)...)))
		}
		s.each([]string{"grants", "list"}, []string{"grants", "show"}, output)
		s.each([]string{"approvals", "list", "--all"}, []string{"approvals", "show"}, output)
		s.each([]string{"quotas", "list"}, []string{"quotas", "show"}, output)
		s.each([]string{"audit", "query", "--limit", "0"}, []string{"policy", "explain", "--decision"}, output)
		s.run("servers", "tools", "plain", "-o", output)
		s.run("audit", "verify", "-o", output)
	}
	for _, format := range []string{"csv", "jsonl"} {
		s.p.add(inQuery, s.name, []byte(s.run("audit", "export", "--format", format)))
	}
}

// most is how many of a list are shown by themselves.
const most = 5

// each shows every one of a list by itself.
func (s *site) each(list, show []string, output string) {
	s.Helper()
	shown := 0
	for line := range strings.Lines(s.run(append(list, "-o", "json")...)) {
		var of struct {
			ID       string
			Decision string `json:"decision_id"`
		}
		if err := json.Unmarshal([]byte(line), &of); err != nil {
			s.Fatalf("%s: %v", line, err)
		}
		if id := of.ID + of.Decision; id != "" && shown < most {
			shown++
			// A frame that no policy was asked about cannot be explained.
			s.cli(command{args: append(append([]string{}, show...), id, "-o", output), maybe: show[0] == "policy"})
		}
	}
	if shown == 0 {
		s.Errorf("%v has nothing to show", list)
	}
}
