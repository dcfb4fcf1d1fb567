package proxy

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// say answers with an event stream of the given blocks.
func say(w http.ResponseWriter, blocks ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, b := range blocks {
		_, _ = io.WriteString(w, b)
		_ = http.NewResponseController(w).Flush()
	}
}

func event(message string) string { return "data: " + message + "\n\n" }

var listingKinds = []struct{ method, result, kept string }{
	{
		"tools/list",
		`{"tools":[ {"name":"secret","description":"TOP"} , {"name":"echo","x":1}],"nextCursor":"n","cacheScope":"public","ttlMs":99999999}`,
		`{"tools":[ {"name":"echo","x":1}],"nextCursor":"n","cacheScope":"private","ttlMs":30000}`,
	},
	{"prompts/list", `{"prompts":[{"name":"echo"},{"name":"secret","description":"TOP"}]}`, `{"prompts":[{"name":"echo"}]}`},
	{"resources/list", `{"resources":[{"uri":"secret","name":"TOP"},{"uri":"echo","name":"e"}]}`, `{"resources":[{"uri":"echo","name":"e"}]}`},
	{"resources/templates/list", `{"resourceTemplates":[{"uriTemplate":"echo"},{"uriTemplate":"secret","name":"TOP"}]}`, `{"resourceTemplates":[{"uriTemplate":"echo"}]}`},
}

// TestI4_ListingsAreFilteredWhereverTheyArrive has a server that answers a
// list request in every way that a server can find.
func TestI4_ListingsAreFilteredWhereverTheyArrive(t *testing.T) {
	for _, kind := range listingKinds {
		full, kept := result("5", kind.result), result("5", kind.kept)
		request := `{"jsonrpc":"2.0","id":5,"method":"` + kind.method + `"}`
		other := `{"jsonrpc":"2.0","id":6,"method":"ping"}`
		again := strings.Replace(other, "6", "5", 1)
		progress := `{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}`
		for _, c := range []struct {
			name string
			do   func(g *gateway, session string) []*http.Request // what the client sends; the answer to the last one counts
			say  func(w http.ResponseWriter, n int)               // the n-th answer, from 0
			want string
		}{
			{
				"JSON", posts(request),
				func(w http.ResponseWriter, _ int) { replyJSON(w, full) },
				kept,
			},
			{
				"gzip'd JSON", posts(request),
				func(w http.ResponseWriter, _ int) {
					w.Header().Set("Content-Type", "application/json")
					w.Header().Set("Content-Encoding", "gzip")
					z := gzip.NewWriter(w)
					_, _ = io.WriteString(z, full)
					z.Close()
				},
				kept,
			},
			{
				"stream", posts(request),
				func(w http.ResponseWriter, _ int) { say(w, event(progress), event(full)) },
				event(progress) + event(kept),
			},
			{
				"stream in single bytes", posts(request),
				func(w http.ResponseWriter, _ int) { say(w, strings.Split("id: 7\r\n"+event(full), "")...) },
				"id: 7\n" + event(kept),
			},
			{
				"gzip'd stream", posts(request),
				func(w http.ResponseWriter, _ int) {
					w.Header().Set("Content-Type", "text/event-stream")
					w.Header().Set("Content-Encoding", "gzip")
					z := gzip.NewWriter(w)
					_, _ = io.WriteString(z, event(full))
					z.Close()
				},
				event(kept),
			},
			{
				"the GET stream", gets(""),
				func(w http.ResponseWriter, _ int) { say(w, event(full)) },
				event(kept),
			},
			{
				"a resumed stream", gets("41"),
				func(w http.ResponseWriter, _ int) { say(w, "id: 42\n"+event(full)) },
				"id: 42\n" + event(kept),
			},
			{
				"the stream of another request", posts(request, other),
				func(w http.ResponseWriter, n int) {
					if n == 0 {
						say(w, "id: 1\ndata: \n\n")
						return
					}
					say(w, event(full), event(result("6", "{}")))
				},
				event(kept) + event(result("6", "{}")),
			},
			{
				"another request with the same id", posts(request, again),
				func(w http.ResponseWriter, n int) {
					if n == 0 {
						say(w, "id: 1\ndata: \n\n")
						return
					}
					replyJSON(w, full)
				},
				kept,
			},
			{
				"a string for the id", posts(strings.Replace(request, "5", `"5"`, 1), again),
				func(w http.ResponseWriter, n int) {
					if n == 0 {
						say(w, "id: 1\ndata: \n\n")
						return
					}
					replyJSON(w, full)
				},
				kept,
			},
		} {
			t.Run(kind.method+" as "+c.name, func(t *testing.T) {
				var n atomic.Int64
				up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
					if member([]byte(body), "method") == "initialize" {
						w.Header().Set("Mcp-Session-Id", "s1")
						replyJSON(w, result("0", `{}`))
						return
					}
					c.say(w, int(n.Add(1)-1))
				})
				pdp := &fakePDP{hidden: map[string]bool{"secret": true}}
				g := newGateway(t, up.URL, pdp)
				g.post(t, initialize)
				var got answer
				for _, r := range c.do(g, "s1") {
					got = g.do(t, r)
				}
				if diff := cmp.Diff(c.want, got.Body); diff != "" {
					t.Errorf("the client got (-want +got):\n%s", diff)
				}
				if got.Status != 200 || strings.Contains(got.Body, "TOP") {
					t.Errorf("status %d:\n%s", got.Status, got.Body)
				}
				pdp.mu.Lock()
				if len(pdp.lists) != 1 || pdp.lists[0].GetMethod() != kind.method || pdp.lists[0].GetDecisionId() == "" {
					t.Errorf("list decisions: %v", pdp.lists)
				}
				pdp.mu.Unlock()
			})
		}
	}
}

func posts(bodies ...string) func(*gateway, string) []*http.Request {
	return func(g *gateway, session string) (out []*http.Request) {
		for _, b := range bodies {
			out = append(out, g.request(http.MethodPost, b, "Mcp-Session-Id", session))
		}
		return out
	}
}

func gets(last string) func(*gateway, string) []*http.Request {
	return func(g *gateway, session string) []*http.Request {
		r := g.request(http.MethodGet, "", "Mcp-Session-Id", session)
		if last != "" {
			r.Header.Set("Last-Event-ID", last)
		}
		return []*http.Request{r}
	}
}

func TestI1_AListingThatCannotBeReadOrDecidedIsRefused(t *testing.T) {
	request := `{"jsonrpc":"2.0","id":5,"method":"tools/list"}`
	for _, c := range []struct {
		name, reply string
		broken      bool
		want        string
	}{
		{"two lists", result("5", `{"tools":[],"tools":[{"name":"secret"}]}`), false, "could not be read with certainty"},
		{"two lists to a careless client", result("5", `{"tools":[],"Tools":[{"name":"secret"}]}`), false, "could not be read with certainty"},
		{"no list", result("5", `{"tools":{"name":"secret"}}`), false, "could not be read with certainty"},
		{"no JSON", `{"jsonrpc":"2.0","id":5,"result":{"tools":[{"name":"secret"`, false, "could not be read with certainty"},
		{"two messages", result("5", `{"tools":[]}`) + result("5", `{"tools":[{"name":"secret"}]}`), false, "could not be read with certainty"},
		{"another id", result("6", `{"tools":[{"name":"secret"}]}`), false, "answered another request"},
		{"too long", result("5", `{"tools":[{"name":"secret","x":"`+strings.Repeat("x", 4096)+`"}]}`), false, "too long"},
		{"no decision", result("5", toolList), true, "could not be decided on"},
	} {
		for _, stream := range []bool{false, true} {
			if stream && c.name == "another id" {
				continue // on a stream it is filtered and passed, like any repetition
			}
			t.Run(c.name+map[bool]string{true: " on a stream"}[stream], func(t *testing.T) {
				up := newServer(t, func(w http.ResponseWriter, r *http.Request, body string) {
					if stream {
						say(w, event(c.reply))
					} else {
						replyJSON(w, c.reply)
					}
				})
				pdp := &fakePDP{broken: c.broken}
				g := newGateway(t, up.URL, pdp, func(o *Options) { o.Servers[0].AnswerBytes = 2048 })
				got := g.post(t, request)
				if stream && c.name == "too long" {
					c.want = "could not be read with certainty"
				}
				if got.Status != 200 || strings.Contains(got.Body, "secret") || !strings.Contains(got.Body, c.want) || !strings.Contains(got.Body, `"id":5,"error"`) {
					t.Errorf("%d %s", got.Status, got.Body)
				}
				if o := pdp.outcome(t, 1); !strings.HasPrefix(o.GetError(), "answer refused: ") {
					t.Errorf("outcome: %v", o)
				}
			})
		}
	}
}

func TestListingCountsAreOnRecord(t *testing.T) {
	up := newServer(t, tools)
	pdp := &fakePDP{hidden: map[string]bool{"secret": true}}
	g := newGateway(t, up.URL, pdp)
	g.post(t, `{"jsonrpc":"2.0","id":5,"method":"tools/list"}`)
	if o := pdp.outcome(t, 1); o.GetListed() != 3 || o.GetHidden() != 1 {
		t.Errorf("outcome: %v", o)
	}
}

// lister is a server whose tools change and that counts who asks for them.
// TestI6_AListingBehindCredentialsIsAskedForByDecision shows how the gateway
// lists a server whose credentials come with decisions only, and keeps none.
