//go:build unix && !linux

package stdio

import (
	"errors"
	"os/exec"
	"syscall"
)

// ownGroup puts the child into a process group of its own, so that everything
// it starts can be ended with it.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// reap waits for the child to end and kills what is left of its group. The
// child is reaped first, so for a moment its group id is held by what it left
// behind alone; only Linux lets us wait without reaping.
func (g *group) reap() {
	_ = g.cmd.Wait()
	g.mu.Lock()
	_ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	g.dead = true
	g.mu.Unlock()
}

func (l Rlimits) apply(int) error {
	if l != (Rlimits{}) {
		return errors.New("resource limits for children need Linux: remove them from the configuration")
	}
	return nil
}
