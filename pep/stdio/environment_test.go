package stdio

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// with is the client, whose frames have to run in this environment from here on.
func (c *client) with(env ...string) *client {
	c.ctx = WithEnvironment(c.t.Context(), env)
	return c
}

func TestEachEnvironmentHasAProcessOfItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		echo := modern(toolCall("1", "echo", "{}"))
		for _, env := range [][]string{{"KEY=ada", "MODE=x"}, {"KEY=bob"}, nil, {"MODE=x", "KEY=ada"}, {"KEY=bob"}, {"K=a", "L=b"}, {"K=aL=b"}} {
			newClient(t, c, "s").with(env...).do("POST", echo)
		}
		want := []environment{{"KEY=ada", "MODE=x"}, {"KEY=bob"}, nil, {"K=a", "L=b"}, {"K=aL=b"}}
		if diff := cmp.Diff(want, f.extra, cmp.Comparer(slices.Equal[environment])); diff != "" {
			t.Errorf("environments of the processes (-want +got):\n%s", diff)
		}
	})
}

func TestALegacySessionStaysWithItsEnvironment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{})
		defer c.Close()
		cl := newClient(t, c, "s").with("KEY=old")
		cl.initialize("2025-11-25")
		cl.call("1", "echo", "{}")
		cl.with() // a frame that asks for none
		if got := cl.do("POST", toolCall("2", "echo", "{}")).StatusCode; got != 200 {
			t.Errorf("a frame without an environment: %d", got)
		}
		cl.with("KEY=new")
		for _, method := range []string{"POST", "GET", "DELETE"} {
			if got := cl.do(method, toolCall("3", "echo", "{}")).StatusCode; got != 404 {
				t.Errorf("%s in another environment than its session's: %d, want 404", method, got)
			}
		}
		if calls := strings.Count(strings.Join(f.received(0), " "), "tools/call"); calls != 2 {
			t.Errorf("the first process got %d calls, want 2", calls)
		}
		cl.session = ""
		cl.initialize("2025-11-25")
		cl.call("4", "echo", "{}")
		if f.count() != 2 || f.extra[1][0] != "KEY=new" {
			t.Errorf("%d processes", f.count())
		}
	})
}

func TestTheProcessHasItAndNobodyElse_I6(t *testing.T) {
	var log bytes.Buffer
	o := realOptions("server")
	o.Logger = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c := NewChild(o)
	for _, value := range []string{"s3cret-of-ada", "s3cret-of-bob"} {
		answer := newClient(t, c, "s").with("BROKERED_KEY=" + value)
		got := answer.body(answer.do("POST", modern(toolCall("1", "env", `{"name":"BROKERED_KEY"}`))))
		if !strings.Contains(got, value) {
			t.Errorf("the process does not have it: %s", got)
		}
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
	shown := fmt.Sprintf("%v %+v %#v %s", environment{"K=s3cret"}, environment{"K=s3cret"}, environment{"K=s3cret"}, environment{"K=s3cret"}.LogValue())
	if s := log.String() + shown; strings.Contains(s, "s3cret") {
		t.Errorf("logged: %s", s)
	}
}

func TestStderrOfAnEnvironmentIsBlottedOut_I6(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		f := &fakes{setUp: func(s *fakeServer) {
			s.onCall = func(m incoming) {
				fmt.Fprintln(s.stderr, "using s3cret-of-ada")
				s.print(`{"jsonrpc":"2.0","id":%s,"result":{}}`, m.ID)
			}
		}}
		c := newChild(ChildOptions{Logger: slog.New(slog.NewTextHandler(&log, nil))}, f.start)
		newClient(t, c, "s").with("KEY=s3cret-of-ada").do("POST", modern(toolCall("1", "any", "{}")))
		c.Close()
		if s := log.String(); strings.Contains(s, "s3cret") || !strings.Contains(s, "using [KEY]") {
			t.Errorf("log: %s", s)
		}
	})
}

func TestAnUnusedProcessMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, f := newFake(t, ChildOptions{Processes: 2})
		defer c.Close()
		busy := connected(t, c, "s") // a session holds its process
		for i := range 4 {
			newClient(t, c, "s").with(fmt.Sprintf("KEY=%d", i)).do("POST", modern(toolCall("1", "echo", "{}")))
			time.Sleep(time.Second)
		}
		busy.call("1", "echo", "{}")
		if f.count() != 5 {
			t.Errorf("%d processes were started, want 5", f.count())
		}
		other := newClient(t, c, "s").with("KEY=3")
		other.initialize("2025-11-25")
		if _, err := newClient(t, c, "s").with("KEY=4").try("POST", modern(toolCall("1", "echo", "{}"))); !errors.Is(err, errProcesses) {
			t.Errorf("with two that are in use: %v", err)
		}
	})
}
