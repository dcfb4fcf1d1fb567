package e2e

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// process is a program that runs beside the tests; its output is kept.
type process struct {
	name string
	cmd  *exec.Cmd
	log  *output
	done chan struct{} // closed when it has ended
}

// spawn starts a program in its own process group, so that stopping it stops
// its children too.
func spawn(name string, env []string, command ...string) (*process, error) {
	p := &process{name: name, log: new(output), done: make(chan struct{})}
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = 5 * time.Second
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		_ = p.cmd.Wait() // how it ended does not matter, that it ended does
		close(p.done)
	}()
	return p, nil
}

// listening waits until something accepts connections at the address.
func (p *process) listening(address string) error {
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		connection, err := net.DialTimeout("tcp", address, time.Second)
		if err == nil {
			return connection.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended before it listened at %s:\n%s", p.name, address, p.log)
		case <-deadline.C:
			return fmt.Errorf("%s does not listen at %s:\n%s", p.name, address, p.log)
		case <-tick.C:
		}
	}
}

// stop asks the process to end and, after a while, makes it.
func (p *process) stop() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
}

// output collects what a process writes; safe for concurrent use.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// freePorts finds n unused ports on the loopback interface.
func freePorts(n int) ([]int, error) {
	ports := make([]int, n)
	for i := range ports {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("free port: %w", err)
		}
		defer listener.Close() // all stay taken until all are found
		ports[i] = listener.Addr().(*net.TCPAddr).Port
	}
	return ports, nil
}
