package stdio

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpermit/mcpermit/pep/mcp"
	"github.com/mcpermit/mcpermit/pep/proxy"
)

func TestSessionOverOneProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		cl := connected(t, c, "")
		if got, want := cl.call(`"a\u002f1"`, "echo", `{"n":1}`), `{"jsonrpc":"2.0","id":"a\u002f1","result":{"content":[],"structuredContent":{"n":1}}}`; got != want {
			t.Errorf("got %s, want %s", got, want)
		}
		if f.count() != 1 {
			t.Errorf("%d processes were started, want 1", f.count())
		}
		if len(cl.session) < 26 {
			t.Errorf("session id %q is too short to hold 128 random bits", cl.session)
		}
		if got := cl.do("DELETE", "").StatusCode; got != 204 {
			t.Errorf("DELETE was answered with %d", got)
		}
		for _, method := range []string{"POST", "GET", "DELETE"} {
			if got := cl.do(method, toolCall("1", "echo", "{}")).StatusCode; got != 404 {
				t.Errorf("%s in an ended session was answered with %d, want 404", method, got)
			}
		}
	})
}

func TestProcessIsInitializedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		first := newClient(t, c, "")
		second := newClient(t, c, "")
		a := first.initialize("2025-11-25")
		second.do("POST", initializeFrame(`"x"`, "2025-11-25"))
		b := second.initialize("2025-11-25")
		if a != b || a == "" {
			t.Errorf("answers differ:\n%s\n%s", a, b)
		}
		resp := second.do("POST", initializeFrame(`"x"`, "2025-11-25"))
		if got := second.body(resp); got != strings.Replace(a, `"id":1`, `"id":"x"`, 1) {
			t.Errorf("the answer from memory is %s", got)
		}
		var got []string
		for _, frame := range f.received(0) {
			var m incoming
			_ = json.Unmarshal([]byte(frame), &m)
			got = append(got, m.Method)
		}
		if want := []string{"initialize", "notifications/initialized"}; !slices.Equal(got, want) {
			t.Errorf("the process got %q, want %q", got, want)
		}
	})
}

// A refused initialize opens no session, is not remembered, and the next
// client's is asked again.
func TestRefusedInitializeIsNotRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		refuse := true
		f.setUp = func(s *fakeServer) {
			in := s.in
			r, w := io.Pipe()
			s.in = r
			go func() {
				defer w.Close()
				lines := newLineReader(in, 1<<20)
				for {
					line, _, err := lines.next()
					if err != nil {
						return
					}
					if refuse && strings.Contains(string(line), `"initialize"`) {
						refuse = false
						s.print(`{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"no"}}`)
						continue
					}
					fmt.Fprintf(w, "%s\n", line)
				}
			}()
		}
		cl := newClient(t, c, "")
		resp := cl.do("POST", initializeFrame("7", "2025-11-25"))
		if got, want := cl.body(resp), `{"jsonrpc":"2.0","id":7,"error":{"code":-32602,"message":"no"}}`; got != want || resp.Header.Get("Mcp-Session-Id") != "" {
			t.Errorf("refused initialize: %s, session %q", got, resp.Header.Get("Mcp-Session-Id"))
		}
		cl.initialize("2025-11-25")
	})
}

func TestVersionsHaveTheirOwnProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		for i, version := range []string{"2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", "2099-01-01", "1999-01-01"} {
			cl := newClient(t, c, "")
			got := cl.initialize(version)
			if want := min(i+1, 5); f.count() != want {
				t.Errorf("%s: %d processes run, want %d", version, f.count(), want)
			}
			if i < 5 && !strings.Contains(got, version) {
				t.Errorf("%s: answered with %s", version, got)
			}
		}
		cl := newClient(t, c, "")
		cl.do("POST", modern(`{"jsonrpc":"2.0","id":1,"method":"server/discover"}`))
		if f.count() != 6 {
			t.Errorf("%d processes run, want one more for the modern era", f.count())
		}
	})
}

// SECURITY T4: a session is its subject's, in every isolation.
func TestI10_SessionOfAnotherSubjectIsNotFound(t *testing.T) {
	for _, isolation := range []Isolation{Shared, PerSubject} {
		synctest.Test(t, func(t *testing.T) {
			c, _ := newFake(t, ChildOptions{Isolation: isolation})
			defer c.Close()
			alice := connected(t, c, "alice")
			mallory := newClient(t, c, "mallory")
			mallory.session = alice.session
			for _, method := range []string{"POST", "GET", "DELETE"} {
				if got := mallory.do(method, toolCall("1", "echo", "{}")).StatusCode; got != 404 {
					t.Errorf("%s in another subject's session was answered with %d, want 404", method, got)
				}
			}
			alice.call("1", "echo", "{}")
		})
	}
}

func TestSubjectsHaveTheirOwnProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{Isolation: PerSubject})
		defer c.Close()
		for _, subject := range []string{"alice", "bob", "alice"} {
			connected(t, c, subject).call("1", "echo", "{}")
			newClient(t, c, subject).body(newClient(t, c, subject).do("POST", modern(toolCall("1", "echo", "{}"))))
		}
		if f.count() != 4 {
			t.Errorf("%d processes run, want 2 for each of 2 subjects", f.count())
		}
		_, err := newClient(t, c, "").try("POST", initializeFrame("1", "2025-11-25"))
		if !errors.Is(err, proxy.ErrNotSent) {
			t.Errorf("without a subject: %v, want ErrNotSent", err)
		}
		if f.count() != 4 {
			t.Error("a process was started for nobody")
		}
	})
}

func TestProgressComesAsEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newFake(t, ChildOptions{})
		defer c.Close()
		cl := connected(t, c, "")
		resp := cl.do("POST", `{"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"progress","arguments":{},"_meta":{"progressToken":"tok\u0065n"}}}`)
		e := readEvents(t, resp)
		e.want(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"tok\u0065n","progress":1}}`)
		e.want(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"tok\u0065n","progress":2}}`)
		e.want(`{"jsonrpc":"2.0","id":"c","result":{"content":[{"type":"text","text":"done"}]}}`)
		if _, err := e.next(); !errors.Is(err, io.EOF) {
			t.Errorf("after the answer: %v, want io.EOF", err)
		}
	})
}

func TestServerRequestReachesTheClientItIsFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		alice, bob := connected(t, c, "alice"), connected(t, c, "bob")
		e := readEvents(t, alice.do("POST", toolCall("1", "ask", "{}")))
		e.want(`{"jsonrpc":"2.0","id":"q1","method":"roots/list"}`)
		if got := bob.do("POST", `{"jsonrpc":"2.0","id":"q1","result":{"roots":["bob's"]}}`).StatusCode; got != 400 {
			t.Errorf("another session's response was answered with %d, want 400", got)
		}
		if got := alice.do("POST", `{"jsonrpc":"2.0","id":"q\u0031","result":{"roots":[]}}`).StatusCode; got != 202 {
			t.Errorf("the response was answered with %d, want 202", got)
		}
		frames := f.received(0)
		if got, want := frames[len(frames)-1], `{"jsonrpc":"2.0","id":"q\u0031","result":{"roots":[]}}`; got != want {
			t.Errorf("the process got %s, want %s", got, want)
		}
		if got := alice.do("POST", `{"jsonrpc":"2.0","id":"q1","result":{}}`).StatusCode; got != 400 {
			t.Errorf("a second response was answered with %d, want 400", got)
		}
	})
}

// A request that could be for either of two clients is for neither.
func TestServerRequestForNobodyInParticularIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newFake(t, ChildOptions{})
		defer c.Close()
		alice, bob := connected(t, c, "alice"), connected(t, c, "bob")
		go func() {
			if resp, err := bob.try("POST", toolCall("1", "silent", "{}")); err == nil {
				resp.Body.Close()
			}
		}()
		synctest.Wait()
		if got := alice.call("9", "ask", "{}"); !strings.Contains(got, "no client can be asked") {
			t.Errorf("the server was told %s", got)
		}
	})
}

func TestPingOfTheServerIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		cl := connected(t, c, "")
		cl.call("1", "notify", `{"frame":"{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}"}`)
		synctest.Wait()
		if got, want := f.received(0)[3], `{"jsonrpc":"2.0","id":"p","result":{}}`; got != want {
			t.Errorf("the process got %s, want %s", got, want)
		}
	})
}

func notice(method, params string) string {
	frame, _ := json.Marshal(fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":%s}`, method, params))
	return fmt.Sprintf(`{"frame":%s}`, frame)
}

func TestNotificationsReachWhomTheyAreFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newFake(t, ChildOptions{})
		defer c.Close()
		alice, bob := connected(t, c, "alice"), connected(t, c, "bob")
		a, b := readEvents(t, alice.do("GET", "")), readEvents(t, bob.do("GET", ""))
		subscribe := func(cl *client, method, uri string) {
			cl.body(cl.do("POST", fmt.Sprintf(`{"jsonrpc":"2.0","id":5,"method":%q,"params":{"uri":%q}}`, method, uri)))
		}
		updated := func(uri string) string { return fmt.Sprintf(`{"uri":%q}`, uri) }

		// Everybody's.
		alice.call("1", "notify", notice("notifications/tools/list_changed", "{}"))
		want := `{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}`
		a.want(want)
		b.want(want)

		// The subscriber's, and that of what is inside.
		subscribe(bob, "resources/subscribe", "file:///b")
		alice.call("1", "notify", notice("notifications/resources/updated", updated("file:///b/c")))
		b.want(`{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{"uri":"file:///b/c"}}`)
		alice.call("1", "notify", notice("notifications/resources/updated", updated("file:///bc")))

		// One's own call's. It comes with the call's answer.
		e := readEvents(t, alice.do("POST", toolCall("1", "notify", notice("notifications/message", `{"level":"info","data":"alice's"}`))))
		e.want(`{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"alice's"}}`)
		e.want(`{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"sent"}]}}`)

		// Nobody's: both have a call in flight.
		go func() {
			if resp, err := bob.try("POST", toolCall("1", "silent", "{}")); err == nil {
				resp.Body.Close()
			}
		}()
		synctest.Wait()
		if got := alice.call("1", "notify", notice("notifications/message", `{"data":"whose?"}`)); strings.Contains(got, "whose?") {
			t.Errorf("a message that may be bob's was given to alice: %s", got)
		}
		alice.call("1", "notify", notice("notifications/prompts/list_changed", "{}"))
		want = `{"jsonrpc":"2.0","method":"notifications/prompts/list_changed","params":{}}`
		a.want(want)
		b.want(want)
	})
}

func TestUnsubscribeOfOneClientLeavesTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		alice, bob := connected(t, c, "alice"), connected(t, c, "bob")
		do := func(cl *client, method string) string {
			return cl.body(cl.do("POST", fmt.Sprintf(`{"jsonrpc":"2.0","id":"s","method":%q,"params":{"uri":"file:///x"}}`, method)))
		}
		do(alice, "resources/subscribe")
		do(bob, "resources/subscribe")
		for _, cl := range []*client{alice, bob} {
			if got, want := do(cl, "resources/unsubscribe"), `{"jsonrpc":"2.0","id":"s","result":{}}`; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		}
		unsubscribes := 0
		for _, frame := range f.received(0) {
			if strings.Contains(frame, "resources/unsubscribe") {
				unsubscribes++
			}
		}
		if unsubscribes != 1 {
			t.Errorf("the process got %d unsubscribes, want the last one only", unsubscribes)
		}
	})
}

func TestClientCancelsItsOwnCallOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		alice, bob := connected(t, c, "alice"), connected(t, c, "bob")
		go func() {
			if resp, err := alice.try("POST", toolCall(`"c1"`, "silent", "{}")); err == nil {
				resp.Body.Close()
			}
		}()
		synctest.Wait()
		before := len(f.received(0))
		cancel := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"c1","reason":"r"}}`
		bob.do("POST", cancel)
		if got := f.received(0); len(got) != before {
			t.Errorf("another client's cancellation went out as %s", got[before])
		}
		alice.do("POST", cancel)
		synctest.Wait()
		if got, want := f.received(0)[before], `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2,"reason":"r"}}`; got != want {
			t.Errorf("the process got %s, want %s", got, want)
		}
	})
}

func TestLegacyHangUpDoesNotCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		cl := connected(t, c, "")
		ctx, cancel := context.WithCancel(t.Context())
		impatient := *cl
		impatient.ctx = ctx
		go func() {
			if _, err := impatient.try("POST", toolCall("1", "hold", "{}")); !errors.Is(err, context.Canceled) {
				t.Errorf("after hanging up: %v, want context.Canceled", err)
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		if got := f.received(0); len(got) != 3 {
			t.Errorf("the process was told %s", got[3:])
		}
		cl.call("2", "release", "{}") // its answer to call 1 goes nowhere
	})
}

func TestModernHangUpCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cl := newClient(t, c, "")
		cl.ctx = ctx
		go func() {
			if _, err := cl.try("POST", modern(toolCall(`"c"`, "silent", "{}"))); !errors.Is(err, context.Canceled) {
				t.Errorf("after hanging up: %v, want context.Canceled", err)
			}
		}()
		synctest.Wait()
		cancel()
		synctest.Wait()
		want := `{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"reason":"the client has gone"}}`
		if got := f.received(0); len(got) != 2 || got[1] != want {
			t.Errorf("the process got %s, want the call and %s", got, want)
		}
	})
}

func TestModernSubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{Timeout: time.Second})
		defer c.Close()
		cl := newClient(t, c, "")
		resp := cl.do("POST", modern(`{"jsonrpc":"2.0","id":"l-1","method":"subscriptions/listen","params":{"notifications":{"toolsListChanged":true}}}`))
		e := readEvents(t, resp)
		e.want(`{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"l-1"},"notifications":{}}}`)
		time.Sleep(time.Hour) // longer than any time-out; the clock is not real
		changed := `{"_meta":{"io.modelcontextprotocol/subscriptionId":1}}`
		cl.body(cl.do("POST", modern(toolCall("2", "notify", notice("notifications/tools/list_changed", changed)))))
		e.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{"_meta":{"io.modelcontextprotocol/subscriptionId":"l-1"}}}`)
		resp.Body.Close()
		synctest.Wait()
		frames := f.received(0)
		if got := frames[len(frames)-1]; !strings.Contains(got, `"notifications/cancelled","params":{"requestId":1,`) {
			t.Errorf("after hanging up the process got %s", got)
		}
	})
}

func TestModernStatus(t *testing.T) {
	discover := modern(`{"jsonrpc":"2.0","id":1,"method":"server/discover"}`)
	unknown := modern(`{"jsonrpc":"2.0","id":1,"method":"no/such"}`)
	for _, test := range []struct {
		name   string
		setUp  func(*fakeServer)
		frames []string
		want   int
	}{
		{"discover", nil, []string{discover}, 200},
		{"unknown method of a modern server", nil, []string{discover, unknown}, 404},
		{"unknown method of who knows what server", nil, []string{unknown}, 400},
		{"discover at a legacy server", func(s *fakeServer) { s.legacyOnly = true }, []string{discover}, 400},
		{"discover at a silent server", func(s *fakeServer) { s.mute = true }, []string{discover}, 400},
		{"tool error", nil, []string{discover, modern(toolCall("1", "nonesuch", "{}"))}, 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, f := newFake(t, ChildOptions{})
				defer c.Close()
				f.setUp = test.setUp
				cl := newClient(t, c, "")
				start := time.Now()
				var resp *http.Response
				for _, frame := range test.frames {
					resp = cl.do("POST", frame)
				}
				body := cl.body(resp)
				if resp.StatusCode != test.want {
					t.Errorf("status %d, want %d: %s", resp.StatusCode, test.want, body)
				}
				if _, err := mcp.Read([]byte(body), mcp.ToClient, mcp.Limits{}); err != nil {
					t.Errorf("the answer %s is no frame: %v", body, err)
				}
				if took := time.Since(start); took > 10*time.Second {
					t.Errorf("took %v", took)
				}
			})
		})
	}
}

// I2: whatever a reader of lines takes for a line end, one frame stays one.
func TestI2_FrameIsOneLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		cl := connected(t, c, "")
		evil := `{\"jsonrpc\":\"2.0\",\"id\":9,\"method\":\"tools/call\",\"params\":{\"name\":\"crash\"}}`
		frame := toolCall("3", "echo", "{\r\n\"a\":\"\u2028"+evil+"\u2029"+evil+"\u0085"+evil+"\"\n}")
		got := cl.body(cl.do("POST", frame))
		sent := f.received(0)[2]
		if strings.ContainsAny(sent, "\r\n\u0085\u2028\u2029") {
			t.Errorf("the process got a line end inside of a line: %q", sent)
		}
		var want, have incoming
		if json.Unmarshal([]byte(frame), &want) != nil || json.Unmarshal([]byte(sent), &have) != nil {
			t.Fatal("not JSON")
		}
		var wantArgs, haveArgs any
		_ = json.Unmarshal(want.Params.Arguments, &wantArgs)
		_ = json.Unmarshal(have.Params.Arguments, &haveArgs)
		if fmt.Sprint(wantArgs) != fmt.Sprint(haveArgs) {
			t.Errorf("the arguments changed from %v to %v", wantArgs, haveArgs)
		}
		if !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":3,`) {
			t.Errorf("the answer is %s", got)
		}
	})
}

func TestI1_UnreadableFrameIsNotSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		cl := connected(t, c, "")
		before := len(f.received(0))
		for frame, want := range map[string]int{
			`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}`: 400,
			`[` + toolCall("1", "echo", "{}") + `]`:                                           400,
			toolCall("1", "echo", "{}") + toolCall("2", "crash", "{}"):                        400,
			``:                                     400,
			strings.Repeat(" ", 2<<20):             413,
			`{"jsonrpc":"2.0","id":4,"result":{}}`: 400, // answers nothing
		} {
			if got := cl.do("POST", frame).StatusCode; got != want {
				t.Errorf("%.80q was answered with %d, want %d", frame, got, want)
			}
		}
		if got := f.received(0); len(got) != before {
			t.Errorf("the process got %s", got[before:])
		}
	})
}

func TestRequestsWithoutSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		cl := newClient(t, c, "")
		for _, test := range []struct {
			method, frame string
			want          int
		}{
			{"POST", toolCall("1", "echo", "{}"), 400},
			{"POST", `{"jsonrpc":"2.0","method":"notifications/initialized"}`, 400},
			{"GET", "", 405},
			{"DELETE", "", 405},
			{"PUT", "", 405},
		} {
			if got := cl.do(test.method, test.frame).StatusCode; got != test.want {
				t.Errorf("%s %s was answered with %d, want %d", test.method, test.frame, got, test.want)
			}
		}
		if f.count() != 0 {
			t.Error("a process was started")
		}
	})
}

func TestNewGETStreamTakesOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newFake(t, ChildOptions{})
		defer c.Close()
		cl := connected(t, c, "")
		old := readEvents(t, cl.do("GET", ""))
		now := readEvents(t, cl.do("GET", ""))
		if _, err := old.next(); err == nil {
			t.Error("the first stream is still open")
		}
		cl.call("1", "notify", notice("notifications/tools/list_changed", "{}"))
		now.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}`)
		cl.do("DELETE", "")
		if _, err := now.next(); !errors.Is(err, io.EOF) {
			t.Errorf("after DELETE the stream ends with %v, want io.EOF", err)
		}
	})
}

// What comes before the GET stream is opened waits for it, within bounds.
func TestNotificationsWaitForTheStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newFake(t, ChildOptions{})
		defer c.Close()
		cl := connected(t, c, "")
		for range mostUnheard + 10 {
			cl.call("1", "notify", notice("notifications/tools/list_changed", "{}"))
		}
		e := readEvents(t, cl.do("GET", ""))
		for range mostUnheard {
			e.want(`{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}`)
		}
		go cl.do("DELETE", "")
		if got, err := e.next(); !errors.Is(err, io.EOF) {
			t.Errorf("then comes %s, %v; want io.EOF", got, err)
		}
	})
}
