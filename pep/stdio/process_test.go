//go:build linux

package stdio

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// These tests start real processes: the test binary itself, as TestMain says.

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// runs says whether the process is there and no zombie.
func runs(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z")
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

func TestNothingOutlivesClose(t *testing.T) {
	before := openFiles(t)
	c := NewChild(realOptions("server"))
	cl := connected(t, c, "")
	pid := number(t, text(t, cl.call("1", "pid", "{}")))
	grandchild := number(t, text(t, cl.call("2", "grandchild", "{}")))
	if !runs(pid) || !runs(grandchild) {
		t.Fatalf("processes %d and %d should run", pid, grandchild)
	}
	c.Close()
	if runs(pid) {
		t.Error("the process survived Close")
	}
	eventually(t, "the grandchild is gone", func() bool { return !runs(grandchild) })
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

func TestNothingOutlivesACrash(t *testing.T) {
	c := NewChild(realOptions("server"))
	defer c.Close()
	cl := connected(t, c, "")
	pid := number(t, text(t, cl.call("1", "pid", "{}")))
	grandchild := number(t, text(t, cl.call("2", "grandchild", "{}")))
	if _, err := cl.try("POST", toolCall("3", "crash", "{}")); !errors.Is(err, errEnded) {
		t.Errorf("the call that broke it: %v", err)
	}
	eventually(t, "the process and what it started are gone", func() bool { return !runs(pid) && !runs(grandchild) })
	if got := cl.do("POST", toolCall("1", "echo", "{}")).StatusCode; got != 404 {
		t.Errorf("the session answers %d, want 404", got)
	}
	cl.session = ""
	cl.initialize("2025-11-25")
	if again := number(t, text(t, cl.call("1", "pid", "{}"))); again == pid {
		t.Error("the process was not started again")
	}
}

func TestProcessGroupIsItsOwn(t *testing.T) {
	c := NewChild(realOptions("server"))
	defer c.Close()
	pid := number(t, text(t, connected(t, c, "").call("1", "pid", "{}")))
	group, err := syscall.Getpgid(pid)
	if err != nil || group != pid {
		t.Errorf("the process %d is in group %d, %v", pid, group, err)
	}
}

// SECURITY T23: a clean environment, named variables only.
func TestI6_EnvironmentIsWhatWasConfigured(t *testing.T) {
	t.Setenv("CANARY_SECRET", "not for the child")
	t.Setenv("HANDED_ON", "by name")
	o := realOptions("server")
	o.Env = append(o.Env, "SET=to this", "HANDED_ON", "NOT_THERE", "PATH=/first", "PATH=/last")
	c := NewChild(o)
	defer c.Close()
	var names []string
	for _, entry := range strings.Split(text(t, connected(t, c, "").call("1", "env", "{}")), `\n`) {
		name, value, _ := strings.Cut(entry, "=")
		switch name {
		case "SET", "HANDED_ON", asChild:
			names = append(names, name+"="+value)
		case "PATH":
			names = append(names, name+"="+value)
		default:
			if !slices.Contains(baseEnv, name) {
				t.Errorf("the process got %s", name)
			}
		}
	}
	want := []string{"HANDED_ON=by name", asChild + "=server", "PATH=/last", "SET=to this"}
	if !slices.Equal(names, want) {
		t.Errorf("the process got %q, want %q", names, want)
	}
}

// Arguments are the process's own, whatever a shell would make of them.
func TestNoShell(t *testing.T) {
	o := realOptions("args")
	args := []string{"$HOME", "a b", "`id`", ";exit", "*"}
	o.Command = append(o.Command, args...)
	c := NewChild(o)
	defer c.Close()
	got := text(t, connected(t, c, "").call("1", "args", "{}"))
	if want := strings.Join(args, `\n`); got != want {
		t.Errorf("the process got %q, want %q", got, want)
	}
}

func TestDir(t *testing.T) {
	o := realOptions("server")
	o.Dir, _ = filepath.EvalSymlinks(t.TempDir())
	c := NewChild(o)
	defer c.Close()
	if got := text(t, connected(t, c, "").call("1", "dir", "{}")); got != o.Dir {
		t.Errorf("the process runs in %s, want %s", got, o.Dir)
	}
}

func TestRlimits(t *testing.T) {
	o := realOptions("server")
	o.Rlimits = Rlimits{OpenFiles: 123, FileSize: 45678}
	c := NewChild(o)
	defer c.Close()
	cl := connected(t, c, "")
	limits, err := os.ReadFile("/proc/" + text(t, cl.call("1", "pid", "{}")) + "/limits")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"Max open files": "123", "Max file size": "45678", "Max core file size": "0"} {
		_, rest, _ := strings.Cut(string(limits), name)
		if got := strings.Fields(rest); len(got) < 2 || got[0] != want || got[1] != want {
			t.Errorf("%s is %q, want %s", name, got[:2], want)
		}
	}
}

// A process that ignores the end of its input and SIGTERM.
func TestStubbornProcessIsKilled(t *testing.T) {
	o := realOptions("stubborn")
	o.Grace = 100 * time.Millisecond
	c := NewChild(o)
	cl := connected(t, c, "")
	pid := number(t, text(t, cl.call("1", "pid", "{}")))
	if err := syscall.Kill(-pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	cl.call("2", "echo", "{}") // it is indeed stubborn
	c.Close()
	if runs(pid) {
		t.Error("the process survived Close")
	}
}

func TestCommandThatDoesNotExist(t *testing.T) {
	before := openFiles(t)
	c := NewChild(ChildOptions{Command: []string{"/no/such/server"}, Logger: quietLog})
	defer c.Close()
	var down *DownError
	if err := c.Start(t.Context()); !errors.As(err, &down) || !errors.Is(down.Err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d files are open, %d were before", after, before)
	}
}

// The gateway is killed without a chance to clean up.
func TestProcessDiesWithTheGateway(t *testing.T) {
	gateway := exec.Command(os.Args[0])
	gateway.Env = append(os.Environ(), asChild+"=gateway")
	out, err := gateway.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	in, err := gateway.StdinPipe() // held open, or the gateway ends in good order
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := gateway.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid := number(t, strings.TrimSpace(line))
	if !runs(pid) {
		t.Fatal("the server should run")
	}
	_ = gateway.Process.Kill()
	_ = gateway.Wait()
	eventually(t, "the server is gone", func() bool { return !runs(pid) })
}
