//go:build !linux

package databases

import "syscall"

func endsWithParent() *syscall.SysProcAttr { return &syscall.SysProcAttr{} }
