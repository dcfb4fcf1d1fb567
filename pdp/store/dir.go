package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// prepareDir makes the state directory, for its owner alone. One that is there
// keeps its mode, but nobody else may be able to put files into it.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("look at the state directory: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("%s is not a directory", dir)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others may write to %s (mode %04o); use a directory of its own, or chmod go-w it", dir, info.Mode().Perm())
	}
	return nil
}

// prepareFile makes an empty database file before SQLite does, which would
// make it readable by others, and takes what others may do with one that is
// there. SQLite gives its side files the mode of the database.
func prepareFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	info, err := f.Stat()
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = f.Chmod(0o600)
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("prepare the database: %w", err)
	}
	return nil
}

// TakeDir takes the state directory for this process alone, as Open does, where
// the store itself is elsewhere. Closing what it returns makes room.
func TakeDir(dir string) (io.Closer, error) {
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	return lock, nil
}

// errLocked is what lock returns when another process has the lock.
var errLocked = errors.New("locked")

// lockDir takes the state directory for this process. The lock goes with the
// process, however it ends; the file stays, and holds the id of the process for
// people to read.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockFile)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	if err := lock(f); err != nil {
		holder := ""
		if b, readErr := fs.ReadFile(os.DirFS(dir), lockFile); readErr == nil && len(b) > 0 {
			holder = " (process " + strings.TrimSpace(string(b)) + ")"
		}
		f.Close()
		if errors.Is(err, errLocked) {
			return nil, fmt.Errorf("the state directory %s is in use by another mcpermit%s; stop it, or give this one a directory of its own", dir, holder)
		}
		return nil, fmt.Errorf("lock the state directory %s: %w", dir, err)
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	return f, nil
}
