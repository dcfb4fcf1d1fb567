package policy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
)

// keptFile is where the copy of the last good bundle of this source is; empty
// when none is kept. Another source has another copy.
func (l *Loader) keptFile() string {
	if l.options.KeepDir == "" || l.source.remote == nil {
		return ""
	}
	sum := sha256.Sum256([]byte(l.source.remote.url.String()))
	return filepath.Join(l.options.KeepDir, "last-good-"+hex.EncodeToString(sum[:8])+".tar.gz")
}

// restore puts the kept copy in force, once and only before anything else is.
// It is verified as if it had just arrived, so a changed key voids it.
func (l *Loader) restore(ctx context.Context) {
	l.activating.Lock()
	defer l.activating.Unlock()
	name := l.keptFile()
	if l.restored || name == "" {
		return
	}
	l.restored = true
	archive, err := readCapped(name, l.source.limits.ArchiveBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		err = l.activateKept(ctx, archive)
	}
	if err != nil {
		l.options.Log.LogAttrs(ctx, slog.LevelWarn, "the kept copy of the last good policy is of no use",
			slog.String("file", name), slog.String("error", err.Error()))
	}
}

func (l *Loader) activateKept(ctx context.Context, archive []byte) error {
	b, err := l.source.parse(archive)
	if err != nil {
		return err
	}
	if _, err := l.activate(ctx, b); err != nil {
		return err
	}
	l.set(func(st *Status) { st.Kept = true })
	l.changed()
	return nil
}

// keep stores the bundle that has just come into force. Failing to is no
// reason not to decide by it, but an operator has to know.
func (l *Loader) keep(archive []byte) {
	name := l.keptFile()
	if name == "" {
		return
	}
	if err := writeWhole(name, archive); err != nil {
		l.options.Log.Error("the policy in force cannot be kept for the next start", "file", name, "error", err)
	}
}

// writeWhole replaces a file in one step: after a crash it is the old or the
// new one, whole.
func writeWhole(name string, data []byte) error {
	dir := filepath.Dir(name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing after the rename
	_, err = f.Write(data)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}
