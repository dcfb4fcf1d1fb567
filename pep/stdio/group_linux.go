package stdio

import (
	"errors"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// ownGroup puts the child into a process group of its own, so that everything
// it starts can be ended with it, and has the kernel kill it when the gateway
// dies without a chance to clean up.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// reap waits for the child to end, kills what is left of its group and
// collects its exit status.
func (g *group) reap() {
	awaitExit(g.cmd.Process.Pid)
	g.mu.Lock()
	_ = syscall.Kill(-g.cmd.Process.Pid, syscall.SIGKILL)
	g.dead = true
	g.mu.Unlock()
	_ = g.cmd.Wait() // the streams are files of ours: this only reaps
}

// awaitExit returns when the child has ended, and leaves it unreaped: until it
// is reaped its process group id can't become somebody else's.
func awaitExit(pid int) {
	for {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// apply sets the limits on a started child. What the child does in the moment
// before is not limited.
func (l Rlimits) apply(pid int) error {
	limits := []struct {
		resource int
		value    uint64
		set      bool
	}{
		{unix.RLIMIT_CORE, 0, true}, // a core file would hold the child's secrets
		{unix.RLIMIT_AS, l.AddressSpace, l.AddressSpace != 0},
		{unix.RLIMIT_CPU, l.CPUSeconds, l.CPUSeconds != 0},
		{unix.RLIMIT_FSIZE, l.FileSize, l.FileSize != 0},
		{unix.RLIMIT_NOFILE, l.OpenFiles, l.OpenFiles != 0},
	}
	for _, one := range limits {
		if !one.set {
			continue
		}
		err := unix.Prlimit(pid, one.resource, &unix.Rlimit{Cur: one.value, Max: one.value}, nil)
		if errors.Is(err, unix.ESRCH) {
			return nil // it has ended already
		}
		if err != nil {
			return errors.Join(errors.New("set a resource limit"), err)
		}
	}
	return nil
}
