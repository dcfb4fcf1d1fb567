package stdio

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// idToken draws the raw token of an id or progress token, as odd as it may be.
func idToken() *rapid.Generator[string] {
	return rapid.OneOf(
		rapid.Map(rapid.IntRange(-3, 5), func(n int) string { return strconv.Itoa(n) }), // collides with the process's ids
		rapid.Just("9007199254740991"),
		rapid.Map(rapid.StringMatching(`[a-z0-9"\\/é\x{1F600}]{0,4}`), func(s string) string {
			b, _ := json.Marshal(s)
			return string(b)
		}),
		rapid.Map(rapid.StringMatching(`[a-c]`), func(s string) string { return fmt.Sprintf(`"\u%04x"`, s[0]) }),
	)
}

// traffic is what several clients do, and in which order the server answers.
type traffic struct {
	legacy []bool // for each client
	calls  []struct {
		client       int
		id, progress string
		answers      int // that the server gives after this call
	}
	order []int // picks among the calls that wait
}

func anyTraffic(t *rapid.T) traffic {
	var tr traffic
	tr.legacy = rapid.SliceOfN(rapid.Bool(), 1, 4).Draw(t, "legacy")
	tr.calls = make([]struct {
		client       int
		id, progress string
		answers      int
	}, rapid.IntRange(1, 20).Draw(t, "calls"))
	for i := range tr.calls {
		c := &tr.calls[i]
		c.client = rapid.IntRange(0, len(tr.legacy)-1).Draw(t, "client")
		c.id, c.progress = idToken().Draw(t, "id"), idToken().Draw(t, "progress")
		c.answers = rapid.IntRange(0, 3).Draw(t, "answers")
	}
	tr.order = rapid.SliceOfN(rapid.IntRange(0, 19), len(tr.calls), len(tr.calls)).Draw(t, "order")
	return tr
}

// Many sessions of both eras share processes, the server answers in any
// order: every response reaches exactly the request that it answers, under the
// id's own bytes, and so does every progress message.
func TestMultiplexing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		tr := anyTraffic(rt)
		var want, got [][]string
		synctest.Test(t, func(t *testing.T) { want, got = tr.run(t) })
		if diff := cmp.Diff(want, got); diff != "" {
			rt.Errorf("messages of each call (-want +got):\n%s", diff)
		}
	})
}

func (tr traffic) run(t *testing.T) (want, got [][]string) {
	server := &shuffler{pending: map[int]pendingCall{}, order: tr.order}
	c := newChild(ChildOptions{Logger: quietLog}, server.start)
	defer c.Close()
	clients := make([]*client, len(tr.legacy))
	for i := range clients {
		clients[i] = newClient(t, c, strconv.Itoa(i%2))
		if tr.legacy[i] {
			clients[i].initialize("2025-11-25")
		}
	}
	got = make([][]string, len(tr.calls))
	var done sync.WaitGroup
	for n, call := range tr.calls {
		cl := clients[call.client]
		frame := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"method":"tools/call","params":{"name":"t","arguments":{"n":%d},"_meta":{"progressToken":%s}}}`, call.id, n, call.progress)
		if cl.session == "" {
			frame = strings.Replace(frame, `"_meta":{`, `"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",`, 1)
		}
		var expected []string
		for i := range n % 3 {
			expected = append(expected, fmt.Sprintf(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, call.progress, i))
		}
		want = append(want, append(expected, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":{"n":%d}}`, call.id, n)))
		done.Go(func() { got[n] = messages(cl, frame) })
		server.answer(call.answers)
	}
	server.answer(len(tr.calls))
	done.Wait()
	return want, got
}

// messages sends a frame and returns every message of the answer.
func messages(cl *client, frame string) []string {
	resp, err := cl.try("POST", frame)
	if err != nil {
		return []string{err.Error()}
	}
	if resp.Header.Get("Content-Type") == "application/json" {
		b, _ := io.ReadAll(resp.Body)
		return []string{string(b)}
	}
	var all []string
	for e := readEvents(cl.t, resp); ; {
		data, err := e.next()
		if err != nil {
			return all
		}
		all = append(all, data)
	}
}

// shuffler is a server that answers in a given order.
type shuffler struct {
	fakes

	mu      sync.Mutex
	order   []int
	pending map[int]pendingCall // by argument n
}

type pendingCall struct {
	server *fakeServer
	call   incoming
}

func (s *shuffler) start(environment) (*process, error) {
	s.setUp = func(f *fakeServer) {
		f.onCall = func(m incoming) {
			var arguments struct{ N int }
			_ = json.Unmarshal(m.Params.Arguments, &arguments)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.pending[arguments.N] = pendingCall{f, m}
		}
	}
	return s.fakes.start(nil)
}

// answer answers up to most of the calls that wait.
func (s *shuffler) answer(most int) {
	for range most {
		synctest.Wait()
		s.mu.Lock()
		waiting := slices.Sorted(maps.Keys(s.pending))
		s.mu.Unlock()
		if len(waiting) == 0 {
			return
		}
		n := waiting[s.order[0]%len(waiting)]
		s.order = s.order[1:]
		s.mu.Lock()
		p := s.pending[n]
		delete(s.pending, n)
		s.mu.Unlock()
		for i := range n % 3 {
			p.server.print(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":%s,"progress":%d}}`, p.call.Params.Meta.ProgressToken, i)
		}
		p.server.print(`{"jsonrpc":"2.0","id":%s,"result":{"n":%d}}`, p.call.ID, n)
	}
}
