package stdio

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mcpermit/mcpermit/pep/proxy"
)

// outcome of a request that is under way beside the test.
type outcome struct {
	resp *http.Response
	err  error
}

func (c *client) goDo(frame string) <-chan outcome {
	done := make(chan outcome, 1)
	go func() {
		resp, err := c.try("POST", frame)
		done <- outcome{resp, err}
	}()
	synctest.Wait()
	return done
}

func TestCrashFailsWhatIsInFlight(t *testing.T) {
	for tool, want := range map[string]string{
		"crash":     errEnded.Error(),
		"garbage":   "a line of 18 bytes on stdout that is not JSON",
		"long-line": "a line of more than 65536 bytes on stdout",
	} {
		t.Run(tool, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c, f := newFake(t, ChildOptions{AnswerBytes: 64 << 10})
				defer c.Close()
				alice, bob := connected(t, c, "alice"), connected(t, c, "bob")
				stream := readEvents(t, bob.do("GET", ""))
				waits := bob.goDo(toolCall("1", "silent", "{}"))
				streams := readEvents(t, bob.do("POST", `{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"progress-and-wait","arguments":{},"_meta":{"progressToken":1}}}`))

				_, err := alice.try("POST", toolCall("1", tool, "{}"))
				if err == nil || err.Error() != want || errors.Is(err, proxy.ErrNotSent) {
					t.Errorf("the call that broke it: %v, want %s", err, want)
				}
				if o := <-waits; o.err == nil || errors.Is(o.err, proxy.ErrNotSent) {
					t.Errorf("another call in flight: %v, want an error that does not say it was not sent", o.err)
				}
				if _, err := streams.next(); err != nil {
					t.Errorf("what was sent before is lost: %v", err)
				}
				if _, err := streams.next(); err == nil || errors.Is(err, io.EOF) {
					t.Errorf("the broken-off answer ends with %v, want an error", err)
				}
				if _, err := stream.next(); !errors.Is(err, io.EOF) {
					t.Errorf("the GET stream ends with %v, want io.EOF", err)
				}
				if got := bob.do("POST", toolCall("1", "echo", "{}")).StatusCode; got != 404 {
					t.Errorf("the session of the ended process answers %d, want 404", got)
				}
				bob.session = ""
				bob.initialize("2025-11-25")
				bob.call("1", "echo", "{}")
				if f.count() != 2 {
					t.Errorf("%d processes were started, want 2", f.count())
				}
			})
		})
	}
}

// SECURITY T23, I1: what is no frame, or not certainly one, reaches nobody.
func TestI1_UnreadableAnswerIsNotForwarded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		cl := connected(t, c, "")
		got := cl.call("5", "ambiguous", "{}")
		if !strings.HasPrefix(got, `{"jsonrpc":"2.0","id":5,"error":`) || strings.Contains(got, "content") {
			t.Errorf("an ambiguous answer came out as %s", got)
		}
		if got := cl.call("6", "json-but-no-frame", "{}"); got != `{"jsonrpc":"2.0","id":6,"result":{"content":[{"type":"text","text":"still here"}]}}` {
			t.Errorf("got %s", got)
		}
		if f.count() != 1 {
			t.Error("the process was restarted for a message that is JSON")
		}
	})
}

func TestBackoffGrowsAndStartsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := ChildOptions{Backoff: Backoff{Min: time.Second, Max: 20 * time.Second, Stable: time.Minute}}
		c, f := newFake(t, o)
		defer c.Close()
		crash := func() { _, _ = newClient(t, c, "").try("POST", modern(toolCall("1", "crash", "{}"))) }
		waited := func() time.Duration {
			start := time.Now()
			for {
				resp, err := newClient(t, c, "").try("POST", modern(toolCall("1", "pid", "{}")))
				if err == nil {
					resp.Body.Close()
					return time.Since(start)
				}
				var down *DownError
				if !errors.As(err, &down) || !errors.Is(err, proxy.ErrNotSent) || down.Wait <= patience {
					t.Fatalf("while the process is down: %v", err)
				}
				time.Sleep(100 * time.Millisecond)
			}
		}
		for i, mean := range []int{1, 2, 4, 8, 16, 20, 20} {
			crash()
			low, high := time.Duration(mean)*750*time.Millisecond, time.Duration(mean)*1250*time.Millisecond
			if got := waited(); got < low || got > high {
				t.Errorf("after %d breakdowns the process was back after %v, want %v to %v", i+1, got, low, high)
			}
		}
		time.Sleep(2 * time.Minute)
		crash()
		if got := waited(); got > 1250*time.Millisecond {
			t.Errorf("a process that ran well was back after %v, want about 1s", got)
		}
		if f.count() != 9 {
			t.Errorf("%d processes were started, want 9", f.count())
		}
	})
}

func TestCommandThatCantBeStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		f.fail = errors.New("no such file")
		var down *DownError
		if err := c.Start(t.Context()); !errors.As(err, &down) || !strings.Contains(err.Error(), "no such file") {
			t.Errorf("got %v", err)
		}
		for range 20 {
			if _, err := newClient(t, c, "").try("POST", initializeFrame("1", "2025-11-25")); !errors.Is(err, proxy.ErrNotSent) {
				t.Fatalf("got %v", err)
			}
		}
		if tries := len(f.times); tries > 8 {
			t.Errorf("%d starts were tried in one go", tries)
		}
		f.fail = nil
		time.Sleep(time.Minute)
		connected(t, c, "").call("1", "echo", "{}")
	})
}

func TestStartIsEager(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		if err := c.Start(t.Context()); err != nil || f.count() != 1 {
			t.Fatalf("%v, %d processes", err, f.count())
		}
		connected(t, c, "")
		if f.count() != 1 {
			t.Error("the first client did not get the process that was started")
		}
	})
}

func TestCallTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{Timeout: time.Minute})
		defer c.Close()
		cl := connected(t, c, "")
		start := time.Now()
		_, err := cl.try("POST", toolCall("1", "silent", "{}"))
		if err == nil || errors.Is(err, proxy.ErrNotSent) || time.Since(start) != time.Minute {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		frames := f.received(0)
		if got := frames[len(frames)-1]; !strings.Contains(got, `"notifications/cancelled","params":{"requestId":2,`) {
			t.Errorf("the process was told %s", got)
		}
		cl.call("2", "echo", "{}")
	})
}

func TestIdleSessionsAndProcessesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{Idle: time.Hour, Timeout: 100 * time.Hour})
		defer c.Close()
		idle, listening, calling := connected(t, c, ""), connected(t, c, ""), connected(t, c, "")
		stream := listening.do("GET", "")
		held := calling.goDo(toolCall("1", "hold", "{}"))
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if got := idle.do("POST", toolCall("1", "echo", "{}")).StatusCode; got != 404 {
			t.Errorf("the idle session answers %d, want 404", got)
		}
		listening.call("1", "release", "{}")
		if o := <-held; o.err != nil {
			t.Errorf("the call in flight: %v", o.err)
		}
		stream.Body.Close()
		time.Sleep(3 * time.Hour)
		synctest.Wait()
		if got := listening.do("POST", toolCall("1", "echo", "{}")).StatusCode; got != 404 {
			t.Errorf("the session answers %d, want 404", got)
		}
		if c.mu.Lock(); c.running != 0 || len(c.slots) != 0 {
			t.Errorf("%d processes run in %d slots", c.running, len(c.slots))
		}
		c.mu.Unlock()
		connected(t, c, "").call("1", "echo", "{}")
		if f.count() != 2 || f.times[1].Sub(f.times[0]) != 6*time.Hour {
			t.Errorf("%d processes were started: an idle end delays the next start", f.count())
		}
	})
}

func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newFake(t, ChildOptions{Isolation: PerSubject, Processes: 2, Sessions: 2, Calls: 2})
		defer c.Close()
		a, b := connected(t, c, "a"), connected(t, c, "b")
		if _, err := newClient(t, c, "c").try("POST", initializeFrame("1", "2025-11-25")); !errors.Is(err, errProcesses) || !errors.Is(err, proxy.ErrNotSent) {
			t.Errorf("a third process: %v", err)
		}
		if _, err := newClient(t, c, "b").try("POST", initializeFrame("1", "2025-11-25")); !errors.Is(err, errSessions) {
			t.Errorf("a third session: %v", err)
		}
		one, two := a.goDo(toolCall("1", "hold", "{}")), a.goDo(toolCall("2", "hold", "{}"))
		if _, err := a.try("POST", toolCall("3", "echo", "{}")); !errors.Is(err, errBusy) || !errors.Is(err, proxy.ErrNotSent) {
			t.Errorf("a third call: %v", err)
		}
		b.call("1", "echo", "{}")
		c.Close()
		<-one
		<-two
	})
}

// One client that does not read must not hold up the others.
func TestSlowReaderHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, _ := newFake(t, ChildOptions{QueueBytes: 4 << 10})
		defer c.Close()
		slow, other := connected(t, c, "slow"), connected(t, c, "other")
		stream := slow.do("GET", "")
		slow.body(slow.do("POST", `{"jsonrpc":"2.0","id":5,"method":"resources/subscribe","params":{"uri":"file:///x"}}`))
		big := notice("notifications/resources/updated", `{"uri":"file:///x","_meta":{"pad":"`+strings.Repeat("x", 1000)+`"}}`)
		for range 100 {
			other.call("1", "notify", big)
		}
		e := readEvents(t, stream)
		got := 0
		go func() {
			time.Sleep(time.Second)
			slow.do("DELETE", "")
		}()
		for {
			if _, err := e.next(); err != nil {
				break
			}
			got++
		}
		if got == 0 || got > 5 {
			t.Errorf("%d messages waited for the slow client, want some that fit into 4 KiB", got)
		}
	})
}

func TestCloseDeliversWhatStillComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		// A server that answers when its input ends.
		f.setUp = func(s *fakeServer) {
			in := s.in
			r, w := io.Pipe()
			s.in = r
			go func() {
				_, _ = io.Copy(w, in)
				fmt.Fprintln(w, toolCall("99", "release", "{}"))
				w.Close()
			}()
		}
		cl := connected(t, c, "")
		held := cl.goDo(toolCall("1", "hold", "{}"))
		c.Close()
		if o := <-held; o.err != nil {
			t.Errorf("the call in flight: %v", o.err)
		}
		if _, err := cl.try("POST", initializeFrame("1", "2025-11-25")); !errors.Is(err, proxy.ErrNotSent) {
			t.Errorf("after Close: %v", err)
		}
		c.Close()
	})
}

func TestProcessThatDoesNotReadIsEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		nothing, end := io.Pipe()
		defer end.Close()
		f.setUp = func(s *fakeServer) { s.in, f.setUp = nothing, nil }
		start := time.Now()
		if _, err := newClient(t, c, "").try("POST", initializeFrame("1", "2025-11-25")); err == nil || errors.Is(err, proxy.ErrNotSent) {
			t.Errorf("got %v", err)
		}
		if got := time.Since(start); got != writeStall {
			t.Errorf("it was ended after %v", got)
		}
		connected(t, c, "")
	})
}

// lockedBuffer takes log lines from several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestI6_StderrIsLoggedWithoutSecrets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		c, f := newFake(t, ChildOptions{
			Env:    []string{"KEY=sk-canary-1234567890", "DEBUG=true"},
			Logger: slog.New(slog.NewTextHandler(&log, nil)),
		})
		connected(t, c, "")
		stderr := f.started[0].stderr
		lines := []string{
			"key sk-canary-1234567890 true",
			"\x1b[31mred\x07\u202e\xff",
			strings.Repeat("y", 3000) + "END",
			// The secret begins inside of what is logged and ends outside.
			strings.Repeat("z", stderrLine-5) + "sk-canary-1234567890",
			"",
		}
		for _, line := range lines {
			fmt.Fprintln(stderr, line)
		}
		synctest.Wait()
		got := log.String()
		for _, want := range []string{`key [KEY] true`, `\u001b[31mred\u0007\u202e\xff`, "yyy…"} {
			if !strings.Contains(got, want) {
				t.Errorf("the log has no %s:\n%.500s", want, got)
			}
		}
		for _, not := range []string{"canary", "END", "\x1b", "sk-c"} {
			if strings.Contains(got, not) {
				t.Errorf("the log has %q", not)
			}
		}
		for range 1000 {
			fmt.Fprintln(stderr, "spam")
		}
		synctest.Wait()
		if n := strings.Count(log.String(), "spam"); n > stderrBurst {
			t.Errorf("%d lines were logged in no time", n)
		}
		c.Close()
		if !strings.Contains(log.String(), "dropped_lines=") {
			t.Error("nobody says that lines were dropped")
		}
	})
}
