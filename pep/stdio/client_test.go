package stdio

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// client talks to a Child as a streamable HTTP client does.
type client struct {
	t       testing.TB
	child   *Child
	ctx     context.Context //nolint:containedctx // of every request
	subject string
	session string
}

func newClient(t testing.TB, c *Child, subject string) *client {
	t.Helper()
	return &client{t: t, child: c, ctx: t.Context(), subject: subject}
}

// connected is a client with an open legacy session.
func connected(t testing.TB, c *Child, subject string) *client {
	t.Helper()
	cl := newClient(t, c, subject)
	cl.initialize("2025-11-25")
	return cl
}

func (c *client) initialize(version string) string {
	c.t.Helper()
	resp := c.do("POST", initializeFrame("1", version))
	body := c.body(resp)
	if c.session = resp.Header.Get("Mcp-Session-Id"); c.session == "" {
		c.t.Fatalf("initialize opened no session: %d %s", resp.StatusCode, body)
	}
	if got := c.do("POST", `{"jsonrpc":"2.0","method":"notifications/initialized"}`).StatusCode; got != 202 {
		c.t.Fatalf("initialized was answered with %d", got)
	}
	return body
}

func initializeFrame(id, version string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"initialize","params":{"protocolVersion":%q,"capabilities":{},"clientInfo":{"name":"c","version":"1"}}}`, id, version)
}

func (c *client) try(method, frame string) (*http.Response, error) {
	ctx := c.ctx
	if c.subject != "" {
		ctx = WithSubject(ctx, c.subject)
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://child/mcp", strings.NewReader(frame))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.session != "" {
		r.Header.Set("Mcp-Session-Id", c.session)
	}
	return c.child.RoundTrip(r)
}

func (c *client) do(method, frame string) *http.Response {
	c.t.Helper()
	resp, err := c.try(method, frame)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, frame, err)
	}
	return resp
}

func (c *client) body(resp *http.Response) string {
	c.t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

func toolCall(id, tool, arguments string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":%q,"arguments":%s}}`, id, tool, arguments)
}

func modern(frame string) string {
	const meta = `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}`
	if at := strings.Index(frame, `"params":{`); at >= 0 {
		at += len(`"params":{`)
		return frame[:at] + meta + "," + frame[at:]
	}
	return strings.TrimSuffix(frame, "}") + `,"params":{` + meta + `}}`
}

// call calls a tool and returns the whole answer.
func (c *client) call(id, tool, arguments string) string {
	c.t.Helper()
	return c.body(c.do("POST", toolCall(id, tool, arguments)))
}

// text is the text content of a tool's result.
func text(t testing.TB, answer string) string {
	t.Helper()
	_, rest, ok := strings.Cut(answer, `"text":"`)
	if !ok {
		t.Fatalf("no text in %s", answer)
	}
	text, _, _ := strings.Cut(rest, `"`)
	return text
}

// events reads the data of an event stream, one by one.
type events struct {
	t    testing.TB
	body io.Closer
	r    *bufio.Reader
}

func readEvents(t testing.TB, resp *http.Response) *events {
	t.Helper()
	if got := resp.Header.Get("Content-Type"); got != "text/event-stream" {
		b, _ := io.ReadAll(resp.Body)
		t.Fatalf("Content-Type is %q, not an event stream: %d %s", got, resp.StatusCode, b)
	}
	return &events{t: t, body: resp.Body, r: bufio.NewReader(resp.Body)}
}

func (e *events) next() (string, error) {
	var data string
	for {
		line, err := e.r.ReadString('\n')
		if err != nil {
			return "", err
		}
		if line == "\n" {
			return data, nil
		}
		if d, ok := strings.CutPrefix(line, "data: "); ok {
			data = strings.TrimSuffix(d, "\n")
		}
	}
}

func (e *events) want(want string) {
	e.t.Helper()
	got, err := e.next()
	if err != nil || got != want {
		e.t.Fatalf("event %s, %v; want %s", got, err, want)
	}
}

var quietLog = slog.New(slog.DiscardHandler)

// newFake is a Child on fake processes.
func newFake(t testing.TB, o ChildOptions) (*Child, *fakes) {
	t.Helper()
	f := &fakes{}
	if o.Logger == nil {
		o.Logger = quietLog
	}
	c := newChild(o, f.start)
	return c, f
}
