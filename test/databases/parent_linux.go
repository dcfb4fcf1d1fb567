package databases

import "syscall"

// endsWithParent has the kernel end a server whose test binary was killed and
// could not.
func endsWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGQUIT}
}
