//go:build unix

package stdio

import (
	"os/exec"
	"sync"
	"syscall"
)

// group is a started child together with everything that it started, as far
// as that stayed in its process group. A descendant that makes itself a
// session of its own escapes; only a container or a cgroup holds those.
type group struct {
	cmd *exec.Cmd

	mu   sync.Mutex
	dead bool // reaped: the group id may belong to somebody else
}

func (g *group) terminate() { g.signal(syscall.SIGTERM) }
func (g *group) kill()      { g.signal(syscall.SIGKILL) }

func (g *group) signal(sig syscall.Signal) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.dead {
		_ = syscall.Kill(-g.cmd.Process.Pid, sig) // fails only when nobody is left
	}
}
