package stdio

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mcpermit/mcpermit/pep/mcp"
)

var update = flag.Bool("update", false, "write the golden conversations")

// overChild is a gateway that lets everything pass.
func overChild(c *Child) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := c.RoundTrip(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		maps.Copy(w.Header(), resp.Header)
		w.WriteHeader(resp.StatusCode)
		buffer := make([]byte, 4096)
		for {
			n, err := resp.Body.Read(buffer)
			_, _ = w.Write(buffer[:n])
			_ = http.NewResponseController(w).Flush()
			if err != nil {
				return
			}
		}
	})
}

// conversation is a Bridge with a client at it, and a transcript.
type conversation struct {
	t        *testing.T
	in       *io.PipeWriter
	out      *transcript
	log      *lockedBuffer
	finished chan error
	cancel   context.CancelFunc
}

// transcript notes what passes, line by line.
type transcript struct {
	mu    sync.Mutex
	lines []string
	fail  error
}

func (tr *transcript) add(format string, args ...any) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	tr.lines = append(tr.lines, fmt.Sprintf(format, args...))
}

// Write takes what the bridge writes: whole lines.
func (tr *transcript) Write(p []byte) (int, error) {
	if tr.fail != nil {
		return 0, tr.fail
	}
	tr.add("< %s", bytes.TrimSuffix(p, []byte("\n")))
	return len(p), nil
}

func (tr *transcript) take() []string {
	synctest.Wait()
	tr.mu.Lock()
	defer tr.mu.Unlock()
	lines := tr.lines
	tr.lines = nil
	return lines
}

func converse(t *testing.T, h http.Handler, change func(*Bridge)) *conversation {
	in, w := io.Pipe()
	c := &conversation{t: t, in: w, out: &transcript{}, log: &lockedBuffer{}, finished: make(chan error, 1)}
	b := &Bridge{
		Handler: h, Path: "/mcp/files/", Token: "mcpg_canary", In: in, Out: c.out,
		Logger: slog.New(slog.NewTextHandler(c.log, nil)),
	}
	if change != nil {
		change(b)
	}
	var ctx context.Context
	ctx, c.cancel = context.WithCancel(t.Context())
	go func() { c.finished <- b.Run(ctx) }()
	return c
}

// say sends lines, and returns what was written until nothing moves any more.
func (c *conversation) say(lines ...string) []string {
	c.t.Helper()
	for _, line := range lines {
		c.send(line)
	}
	return c.out.take()
}

func (c *conversation) send(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.in, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

func (c *conversation) want(got []string, want ...string) {
	c.t.Helper()
	for i := range want {
		want[i] = "< " + want[i]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		c.t.Errorf("written (-want +got):\n%s", diff)
	}
}

// hangUp ends the client and returns what Run does.
func (c *conversation) hangUp() error {
	c.in.Close()
	return <-c.finished
}

// end does the same, and expects nothing wrong.
func (c *conversation) end() {
	c.t.Helper()
	if err := c.hangUp(); err != nil {
		c.t.Errorf("Run: %v", err)
	}
}

// recorded notes in the transcript every request that h gets.
func recorded(tr *transcript, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var b strings.Builder
		fmt.Fprintf(&b, "  %s %s Host: %s", r.Method, r.RequestURI, r.Host)
		for _, name := range slices.Sorted(maps.Keys(r.Header)) {
			value := strings.Join(r.Header[name], " | ")
			if name == "Mcp-Session-Id" {
				value = "SESSION"
			}
			fmt.Fprintf(&b, "\n    %s: %s", name, value)
		}
		if len(body) > 0 {
			fmt.Fprintf(&b, "\n    %s", body)
		}
		tr.add("%s", b.String())
		r.Body = io.NopCloser(bytes.NewReader(body))
		h.ServeHTTP(w, r)
	})
}

// The golden conversations: ">" is what the client says, or the server on its
// own, "<" is what the client hears; between them stands what the gateway gets.
func TestConversations(t *testing.T) {
	call := func(id, tool, arguments string) string { return toolCall(id, tool, arguments) }
	for name, lines := range map[string][]string{
		"legacy": {
			initializeFrame("0", "2025-06-18"),
			`{"jsonrpc":"2.0","method":"notifications/initialized"}`,
			call("1", "echo", `{"n":1}`),
			`{"jsonrpc":"2.0","id":"p","method":"tools/call","params":{"name":"progress","arguments":{},"_meta":{"progressToken":"t"}}}`,
			call("3", "ask", `{}`),
			`{"jsonrpc":"2.0","id":"q1","result":{"roots":[]}}`,
			`server: {"jsonrpc":"2.0","method":"notifications/tools/list_changed"}`,
			call("5", "silent", `{}`),
			`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":5}}`,
			`{"jsonrpc":"2.0","id":6,"method":"tools/call","params":{"name":"a","name":"b"}}`,
			`{"jsonrpc":"2.0","id":7,` + "\r" + `"method":"ping"}`,
			`not JSON`,
			``,
			call("8", "echo", `{}`) + "\r",
		},
		"modern": {
			modern(`{"jsonrpc":"2.0","id":1,"method":"server/discover"}`),
			modern(call("2", "echo", `{"n":1}`)),
			modern(call("3", "é", `{}`)),
			modern(call(`"=?"`, "=?base64?=?=", `{}`)),
			modern(`{"jsonrpc":"2.0","id":4,"method":"resources/read","params":{"uri":"file:///a b"}}`),
			modern(`{"jsonrpc":"2.0","id":5,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"p"},"argument":{"name":"a","value":"v"}}}`),
			modern(call("6", "silent", `{}`)),
			`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":6}}`,
			`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"unknown"}}`,
			modern(`{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"notifications":{}}}`),
			`server: {"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":8}}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				child, f := newFake(t, ChildOptions{})
				defer child.Close()
				tr := &transcript{}
				c := converse(t, recorded(tr, overChild(child)), func(b *Bridge) { b.Out = tr })
				var all []string
				for _, line := range lines {
					all = append(all, "> "+line)
					if frame, ok := strings.CutPrefix(line, "server: "); ok {
						f.started[0].print("%s", frame)
					} else {
						c.send(line)
					}
					all = append(all, tr.take()...)
				}
				all = append(all, "> end")
				c.end()
				golden(t, name, strings.Join(append(all, tr.take()...), "\n")+"\n")
			})
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	got = strings.NewReplacer("\r", "␍", "\x00", "␀", fmt.Sprintf(`"version":"%d"`, os.Getpid()), `"version":"PID"`).Replace(got)
	file := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("the conversation changed; if that is right, run the test with -update (-want +got):\n%s", diff)
	}
}

// answering is a gateway that answers every POST in the same way.
func answering(status int, kind, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if kind != "" {
			w.Header().Set("Content-Type", kind)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func TestEveryRequestIsAnsweredOnce(t *testing.T) {
	const j, e = "application/json", "text/event-stream"
	ok := `{"jsonrpc":"2.0","id":1,"result":{}}`
	refused := func(text string) string { return string(mcp.Failed([]byte("1"), text)) }
	for _, test := range []struct {
		name string
		h    http.HandlerFunc
		want []string
	}{
		{"JSON", answering(200, j, ok), []string{ok}},
		{"JSON on several lines", answering(200, j, "{\"jsonrpc\":\"2.0\",\r\n\"id\":1,\"result\":{\"a\":\"\u2028\"}}\n"), []string{`{"jsonrpc":"2.0",  "id":1,"result":{"a":"\u2028"}}`}},
		{"an error without an id", answering(401, j, `{"jsonrpc":"2.0","error":{"code":1,"message":"no token"}}`), []string{`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no token"}}`}},
		{"an error with its id", answering(400, j, `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}`), []string{`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"m"}}`}},
		{"text", answering(500, "text/plain", "oh no"), []string{refused("the gateway answered 500 Internal Server Error")}},
		{"JSON that is no frame", answering(403, j, `{"error":"insufficient_scope"}`), []string{refused("the gateway answered 403 Forbidden")}},
		{"nothing", answering(202, "", ""), []string{refused("the gateway's answer has no message for the request")}},
		{"another request's answer", answering(200, j, `{"jsonrpc":"2.0","id":2,"result":{}}`), []string{refused("the gateway's answer has no message for the request")}},
		{"two answers", answering(200, e, "data: "+ok+"\n\ndata: "+ok+"\n\n"), []string{ok}},
		{"an answer and what is no answer", answering(200, e, "event: other\ndata: {}\n\n: comment\n\ndata: x\n\ndata: "+ok+"\n\n"), []string{ok}},
		{"a stream without an answer", answering(200, e, "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\"}\n\n"), []string{`{"jsonrpc":"2.0","method":"notifications/message"}`, refused("the gateway's answer has no message for the request")}},
		{"a stream that breaks off", answering(200, e, "data: "+ok), []string{refused("the stream broke off: unexpected EOF")}},
		{"a panic", func(http.ResponseWriter, *http.Request) { panic("bug") }, []string{refused("the gateway answered 502 Bad Gateway")}},
		{"an abort", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", e)
			w.WriteHeader(http.StatusOK)
			panic(http.ErrAbortHandler)
		}, []string{refused("the stream broke off: the gateway broke its answer off")}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := converse(t, test.h, nil)
				c.want(c.say(toolCall("1", "t", "{}")), test.want...)
				c.end()
			})
		})
	}
}

func TestRefusedNotificationIsLoggedOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := converse(t, answering(403, "application/json", `{"jsonrpc":"2.0","error":{"code":1,"message":"not allowed"}}`), nil)
		c.want(c.say(`{"jsonrpc":"2.0","method":"notifications/roots/list_changed"}`, `{"jsonrpc":"2.0","id":1,"result":{}}`))
		if got := c.log.String(); strings.Count(got, "403 Forbidden") != 2 || !strings.Contains(got, "not allowed") {
			t.Errorf("the log says %s", got)
		}
		c.end()
		if strings.Contains(c.log.String(), "canary") {
			t.Error("the token is in the log")
		}
	})
}

// A line that is too long is refused, recorded by the gateway, and the next
// line is the next line.
func TestI5_LinesThatAreNoFramesReachTheGateway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var bodies []string
		c := converse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			bodies = append(bodies, string(b))
			_, err := mcp.Read(b, mcp.ToServer, mcp.Limits{})
			w.Header().Set("Content-Type", "application/json")
			var fault *mcp.Fault
			if errors.As(err, &fault) {
				w.WriteHeader(fault.Status)
				_, _ = w.Write(mcp.Faulted(fault))
				return
			}
			_, _ = io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":{}}`)
		}), func(b *Bridge) { b.LineBytes = 100 })
		split := `{"jsonrpc":"2.0","id":1,` + "\r" + `"method":"ping"}`
		long := `{"jsonrpc":"2.0","id":1,"method":"ping"}` + strings.Repeat(" ", 200000)
		got := c.say(split, long, `{"jsonrpc":"2.0","id":1,"method":"ping"}`)
		if len(got) != 3 || !strings.Contains(got[0], `"id":1,"error":{"code":-32700`) || !strings.Contains(got[1], "at most 100 bytes") || got[2] != `< {"jsonrpc":"2.0","id":1,"result":{}}` {
			t.Errorf("written: %q", got)
		}
		want := []string{split + "\x00", long[:100] + "\x00", `{"jsonrpc":"2.0","id":1,"method":"ping"}`}
		if diff := cmp.Diff(want, bodies); diff != "" {
			t.Errorf("the gateway got (-want +got):\n%s", diff)
		}
		c.end()
	})
}

// A server may end a stream before the answer and be asked for the rest.
func TestStreamIsResumed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		c := converse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b, _ := io.ReadAll(r.Body)
			w.Header().Set("Content-Type", "text/event-stream")
			switch {
			case bytes.Contains(b, []byte(`"initialize"`)):
				w.Header().Set("Mcp-Session-Id", "s")
				fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":0,\"result\":{\"protocolVersion\":\"2025-11-25\"}}\n\n")
			case r.Method == http.MethodPost:
				fmt.Fprintf(w, "id: 1\nretry: 5000\ndata:\n\n")
			case r.Method == http.MethodGet:
				asked = append(asked, r.Header.Get("Mcp-Session-Id")+" "+r.Header.Get("Last-Event-ID"))
				if len(asked) < 3 {
					fmt.Fprintf(w, "id: %d\nretry: 5000\ndata:\n\n", len(asked)+1)
					return
				}
				fmt.Fprintf(w, "data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n")
			}
		}), nil)
		c.say(initializeFrame("0", "2025-11-25"), toolCall("1", "t", "{}"))
		start := time.Now()
		time.Sleep(time.Minute)
		c.want(c.out.take(), `{"jsonrpc":"2.0","id":1,"result":{}}`)
		if want := []string{"s 1", "s 2", "s 3"}; !slices.Equal(asked, want) || time.Since(start) != time.Minute {
			t.Errorf("asked for %q, want %q", asked, want)
		}
		c.end()
	})
}

func TestLostSessionIsOpenedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		child, f := newFake(t, ChildOptions{})
		defer child.Close()
		c := converse(t, overChild(child), nil)
		c.say(initializeFrame("0", "2025-11-25"), `{"jsonrpc":"2.0","method":"notifications/initialized"}`)
		if got := c.say(toolCall("1", "crash", "{}")); len(got) != 1 || !strings.Contains(got[0], `"id":1,"error"`) {
			t.Errorf("the call that broke the server: %q", got)
		}
		c.say(toolCall("2", "echo", `{"n":2}`), toolCall("3", "echo", `{"n":3}`))
		time.Sleep(time.Second) // for the back-off
		got := c.out.take()
		slices.Sort(got)
		c.want(got, `{"jsonrpc":"2.0","id":2,"result":{"content":[],"structuredContent":{"n":2}}}`, `{"jsonrpc":"2.0","id":3,"result":{"content":[],"structuredContent":{"n":3}}}`)
		if got := strings.Join(f.received(1), "\n"); strings.Count(got, `"initialize"`) != 1 || strings.Count(got, "notifications/initialized") != 1 {
			t.Errorf("the new process got\n%s", got)
		}
		// The server's own messages come again, too.
		c.say(toolCall("4", "notify", notice("notifications/tools/list_changed", "{}")))
		if len(child.sessions.byID) != 1 {
			t.Errorf("%d sessions are open, want 1", len(child.sessions.byID))
		}
		c.end()
		if len(child.sessions.byID) != 0 {
			t.Error("the session was not ended")
		}
	})
}

func TestEndOfInputWaitsForAnswers(t *testing.T) {
	for name, test := range map[string]struct {
		answer time.Duration
		after  time.Duration
		want   []string
	}{
		"in time":  {10 * time.Second, 10 * time.Second, []string{`{"jsonrpc":"2.0","id":1,"result":{}}`}},
		"too late": {time.Hour, 30 * time.Second, []string{string(mcp.Failed([]byte("1"), errOver.Error()))}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := converse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					_, _ = io.Copy(io.Discard, r.Body)
					select {
					case <-time.After(test.answer):
					case <-r.Context().Done():
						return
					}
					answering(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{}}`)(w, r)
				}), nil)
				// The last line has no line end.
				go func() {
					_, _ = io.WriteString(c.in, toolCall("1", "t", "{}"))
					c.in.Close()
				}()
				start := time.Now()
				if err := <-c.finished; err != nil {
					t.Errorf("Run: %v", err)
				}
				if got := time.Since(start); got != test.after {
					t.Errorf("Run ended after %v, want %v", got, test.after)
				}
				c.want(c.out.take(), test.want...)
			})
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		child, _ := newFake(t, ChildOptions{})
		defer child.Close()
		c := converse(t, overChild(child), nil)
		c.say(initializeFrame("0", "2025-11-25"), toolCall("1", "silent", "{}"))
		c.cancel()
		if err := <-c.finished; !errors.Is(err, context.Canceled) {
			t.Errorf("Run: %v, want context.Canceled", err)
		}
		if len(child.sessions.byID) != 0 {
			t.Error("the session was not ended")
		}
		c.in.Close()
	})
}

func TestRunEndsWhenTheClientDoesNotListen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := converse(t, answering(200, "application/json", `{"jsonrpc":"2.0","id":1,"result":{}}`), nil)
		c.out.fail = errors.New("broken pipe")
		c.say(toolCall("1", "t", "{}"))
		if err := <-c.finished; err == nil || !strings.Contains(err.Error(), "broken pipe") {
			t.Errorf("Run: %v", err)
		}
		c.in.Close()
	})
}

// The gateway has read a request before it sees the next line, however long
// the answer takes.
func TestOrderIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []string
		release := make(chan struct{})
		c := converse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			b := make([]byte, r.ContentLength)
			_, _ = io.ReadFull(r.Body, b)
			f, _ := mcp.Read(b, mcp.ToServer, mcp.Limits{})
			got = append(got, f.Method+string(f.ID)) // the body is not read to its end yet
			_, _ = r.Body.Read(b[:1])
			if f.Kind != mcp.KindRequest {
				w.WriteHeader(http.StatusAccepted)
				return
			}
			<-release
			answering(200, "application/json", `{"jsonrpc":"2.0","id":`+string(f.ID)+`,"result":{}}`)(w, r)
		}), nil)
		var lines, want []string
		for i := range 50 {
			lines = append(lines, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping"}`, i), `{"jsonrpc":"2.0","method":"notifications/x"}`)
			want = append(want, fmt.Sprintf("ping%d", i), "notifications/x")
		}
		c.say(lines...)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("the gateway saw (-want +got):\n%s", diff)
		}
		close(release)
		if n := len(c.out.take()); n != 50 {
			t.Errorf("%d answers, want 50", n)
		}
		c.end()
	})
}

func TestRequestsBeyondTheBoundAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		c := converse(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-release
		}), nil)
		for i := range mostInFlight {
			c.say(fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"ping"}`, i))
		}
		c.want(c.say(`{"jsonrpc":"2.0","id":"more","method":"ping"}`), string(mcp.Failed([]byte(`"more"`), "too many requests are in flight")))
		close(release)
		c.end()
	})
}

// Whatever the gateway sends, the client gets JSON-RPC messages, each on one
// line, and one response to its one request.
func FuzzI1_OnlyFramesAreWritten(f *testing.F) {
	for _, body := range []string{
		"", "x", "data: x\n\n", `{"jsonrpc":"2.0","id":1,"result":{}}`, "data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":1,\"result\":{}}\n\n",
		"data: {\"jsonrpc\":\"2.0\",\"id\":\"s\",\"method\":\"ping\"}\r\rdata: {\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{}}\r\n\r\n",
		`[{"jsonrpc":"2.0","id":1,"result":{}}]`, `{"jsonrpc":"2.0","id":1,"result":{},"result":{}}`, "{\"jsonrpc\":\"2.0\",\"error\":{\"a\":\"\u2028\"}}",
	} {
		f.Add(200, true, body)
		f.Add(400, false, body)
	}
	f.Fuzz(func(t *testing.T, status int, stream bool, body string) {
		if status < 200 || status > 599 {
			return
		}
		kind := "application/json"
		if stream {
			kind = "text/event-stream"
		}
		synctest.Test(t, func(t *testing.T) {
			c := converse(t, answering(status, kind, body), nil)
			responses := 0
			for _, line := range c.say(toolCall("1", "t", "{}")) {
				line = strings.TrimPrefix(line, "< ")
				frame, err := mcp.Read([]byte(line), mcp.ToClient, transportLimits(1<<20))
				if err != nil || strings.ContainsAny(line, "\r\n\u2028\u2029\u0085") {
					t.Errorf("written: %q, %v", line, err)
				} else if frame.Kind == mcp.KindResponse {
					responses++
				}
			}
			if responses != 1 {
				t.Errorf("%d responses to one request", responses)
			}
			c.end()
		})
	})
}
