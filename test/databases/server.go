// Package databases runs real PostgreSQL and Redis (or Valkey) servers for a test,
// and a KMS: private ones, with data, a loopback port and a life of their own.
package databases

import (
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// server is a program that can be ended and started again on the same address
// and data. It ends with the test.
type server struct {
	address string // host:port
	dir     string // of its data
	log     string // what it wrote

	command []string
	attr    *syscall.SysProcAttr
	ready   func() error
	// quit is the signal that ends it in order.
	quit syscall.Signal

	running *exec.Cmd
	ended   chan struct{} // closed when running has ended
}

// patience is ample: on a busy machine a test must not fail for it.
const patience = time.Minute

// newServer makes a directory for a server that is yet to be started.
func newServer(t testing.TB, kind string) *server {
	t.Helper()
	// Not t.TempDir(), which nobody but its owner may pass through.
	dir, err := os.MkdirTemp("", "mcpermit-"+kind+"-")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{address: freeAddress(t), dir: dir, log: filepath.Join(dir, "log"), attr: endsWithParent()}
	t.Cleanup(func() {
		s.Kill(t)
		if t.Failed() {
			text, _ := os.ReadFile(s.log)
			t.Logf("%s at %s:\n%s", kind, s.address, text[max(0, len(text)-4000):])
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove what a server left: %v", err)
		}
	})
	return s
}

// freeAddress returns a loopback address below the ports that the system gives
// to outgoing connections: one of those could take the port while the server is
// down, even a client of this server that tries to connect to it.
func freeAddress(t testing.TB) string {
	t.Helper()
	for range 100 {
		address := fmt.Sprintf("127.0.0.1:%d", 15000+rand.IntN(15000))
		if l, err := net.Listen("tcp", address); err == nil {
			l.Close()
			return address
		}
	}
	t.Fatal("no free port from 15000 to 29999")
	return ""
}

// Start starts the server, on its former address and data, and waits until it
// answers. It does nothing while the server runs.
func (s *server) Start(t testing.TB) {
	t.Helper()
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		// One that ends again found a child of its killed predecessor, say, and is
		// tried again.
		if s.running == nil || s.hasEnded() {
			s.spawn(t)
		}
		if err = s.ready(); err == nil {
			return
		}
	}
	t.Fatalf("%s does not answer: %v", s.command[0], err)
}

func (s *server) spawn(t testing.TB) {
	t.Helper()
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(s.command[0], s.command[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr, cmd.SysProcAttr = s.dir, log, log, s.attr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	s.running, s.ended = cmd, ended
	go func() {
		_ = cmd.Wait() // most end by a signal
		close(ended)
	}()
}

func (s *server) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// Kill ends the server with SIGKILL.
func (s *server) Kill(t testing.TB) { s.end(t, syscall.SIGKILL) }

// Stop ends the server in order.
func (s *server) Stop(t testing.TB) { s.end(t, s.quit) }

func (s *server) end(t testing.TB, signal syscall.Signal) {
	t.Helper()
	if s.running == nil {
		return
	}
	_ = s.running.Process.Signal(signal) // it may have ended by itself
	select {
	case <-s.ended:
	case <-time.After(patience):
		_ = s.running.Process.Kill()
		<-s.ended
		t.Errorf("%s did not end on %s", s.command[0], signal)
	}
	s.running = nil
}

// run runs a program to its end.
func (s *server) run(t testing.TB, command ...string) {
	t.Helper()
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.attr
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(command, " "), err, out)
	}
}
