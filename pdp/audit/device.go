package audit

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
)

// device is what the log needs of the file system below its directory. Names
// have no path. It exists so that tests can let it fail.
type device interface {
	// Create makes a file that must not exist.
	Create(name string) (file, error)
	Open(name string) (file, error)
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes created names durable.
	SyncDir() error
}

type file interface {
	ReadAt(p []byte, off int64) (int, error)
	WriteAt(p []byte, off int64) (int, error)
	Truncate(size int64) error
	Sync() error
	Stat() (fs.FileInfo, error)
	Close() error
}

// disk is the device that is used outside of tests: a directory.
type disk string

func (d disk) Create(name string) (file, error) {
	return d.open(name, os.O_RDWR|os.O_CREATE|os.O_EXCL)
}

func (d disk) Open(name string) (file, error) { return d.open(name, os.O_RDWR) }

func (d disk) open(name string, flag int) (file, error) {
	f, err := os.OpenFile(filepath.Join(string(d), name), flag, 0o600)
	if err != nil {
		return nil, err // not f: a nil *os.File in an interface is not nil
	}
	return f, nil
}

func (d disk) Stat(name string) (fs.FileInfo, error) { return os.Lstat(filepath.Join(string(d), name)) }

func (d disk) SyncDir() error {
	if runtime.GOOS == "windows" { // makes names durable by itself, and cannot be asked to
		return nil
	}
	f, err := os.Open(string(d))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// remedy says what to do about a failing device.
func remedy(err error) string {
	switch {
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free space on its file system"
	case errors.Is(err, syscall.EROFS):
		return "mount its file system writable"
	case errors.Is(err, fs.ErrPermission):
		return "let this process's user write the directory"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return "raise the limit of open files"
	case errors.Is(err, syscall.EIO):
		return "check the disk"
	}
	return "check the directory and its disk"
}
