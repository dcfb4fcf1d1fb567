package stdio

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"
)

// process is one running child as the rest of the package sees it: three
// streams, two signals, one end. Tests put pipes in place of a real one.
type process struct {
	stdin  io.WriteCloser
	stdout io.ReadCloser
	stderr io.ReadCloser

	terminate func() // asks the child's process group to end
	kill      func() // ends the child's process group

	// gone is closed when the child has been reaped and its group was killed.
	// The streams can still hold what was written before.
	gone <-chan struct{}
	pid  int
}

// stop ends the child the way the specification asks for: end of input, then
// SIGTERM, then SIGKILL, each after grace. (MCP 2026-07-28, stdio, shutdown)
// It returns when the child is gone. Several calls at once are harmless.
func (p *process) stop(grace time.Duration) {
	p.stdin.Close()
	for _, next := range []func(){p.terminate, p.kill} {
		timer := time.NewTimer(grace)
		select {
		case <-p.gone:
			timer.Stop()
			return
		case <-timer.C:
			next()
		}
	}
	<-p.gone
}

// command is what a child is started from.
type command struct {
	argv   []string
	env    []string
	dir    string
	limits Rlimits
}

// start runs the command in a process group of its own.
//
// The goroutine that starts the child is the one that waits for it, and it
// keeps its thread all the while: the parent death signal is sent when the
// starting thread ends, not when the program does.
func (c command) start() (*process, error) {
	if len(c.argv) == 0 || c.argv[0] == "" {
		return nil, errors.New("no command is configured")
	}
	var pipes pipes
	if err := pipes.open(); err != nil {
		return nil, err
	}
	cmd := exec.Command(c.argv[0], c.argv[1:]...) //nolint:gosec,noctx // the operator configures it, stop ends it
	cmd.Dir, cmd.Env = c.dir, c.env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = pipes.stdin.r, pipes.stdout.w, pipes.stderr.w
	ownGroup(cmd)

	gone, started := make(chan struct{}), make(chan error)
	group := &group{cmd: cmd}
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		if err := c.limits.apply(cmd.Process.Pid); err != nil {
			group.kill()
			group.reap()
			started <- err
			return
		}
		started <- nil
		group.reap()
		close(gone)
	}()
	err := <-started
	pipes.closeChildEnds()
	if err != nil {
		pipes.closeOurEnds()
		return nil, fmt.Errorf("start %s: %w", c.argv[0], err)
	}
	return &process{
		stdin: pipes.stdin.w, stdout: pipes.stdout.r, stderr: pipes.stderr.r,
		terminate: group.terminate, kill: group.kill,
		gone: gone, pid: cmd.Process.Pid,
	}, nil
}

type pipe struct{ r, w *os.File }

type pipes struct{ stdin, stdout, stderr pipe }

func (p *pipes) open() error {
	for _, one := range []*pipe{&p.stdin, &p.stdout, &p.stderr} {
		r, w, err := os.Pipe()
		if err != nil {
			p.closeChildEnds()
			p.closeOurEnds()
			return fmt.Errorf("open a pipe for the child: %w", err)
		}
		one.r, one.w = r, w
	}
	return nil
}

// A nil *os.File refuses to be closed with an error, nothing worse.
func (p *pipes) closeChildEnds() { p.stdin.r.Close(); p.stdout.w.Close(); p.stderr.w.Close() }
func (p *pipes) closeOurEnds()   { p.stdin.w.Close(); p.stdout.r.Close(); p.stderr.r.Close() }

// baseEnv names the variables that every child gets from the gateway's own
// environment when they are set there. None of them carries a secret.
var baseEnv = []string{
	"HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "PATH", "SHELL", "TEMP", "TERM", "TMP", "TMPDIR", "TZ", "USER",
	"APPDATA", "COMSPEC", "LOCALAPPDATA", "PATHEXT", "PROGRAMDATA", "PROGRAMFILES", "SYSTEMDRIVE", "SYSTEMROOT", "USERPROFILE", "WINDIR",
}

// childEnv is the whole environment of a child: the base, then the configured
// entries, the last one of a name winning. An entry without "=" is a name
// whose value is taken from the gateway's environment.
func childEnv(configured []string) []string {
	values := map[string]string{}
	for _, name := range baseEnv {
		if v, ok := os.LookupEnv(name); ok {
			values[name] = v
		}
	}
	for _, entry := range configured {
		name, value, given := strings.Cut(entry, "=")
		if !given {
			if value, given = os.LookupEnv(name); !given {
				continue
			}
		}
		values[name] = value
	}
	env := make([]string, 0, len(values))
	for name, value := range values {
		env = append(env, name+"="+value)
	}
	slices.Sort(env)
	return env
}
