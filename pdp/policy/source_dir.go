package policy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// maxDirectoryDepth is how deep a policy directory may nest.
const maxDirectoryDepth = 32

// readDirectory reads the policy files under root: .rego (tests only if they
// are wanted), .json, .yaml and .yml, and .manifest at the root. What is hidden is left out, and
// links are followed (Kubernetes mounts a ConfigMap as links into a hidden
// directory). A directory that changes meanwhile is read again, so that no
// mixture of two states is ever put in force. dirs are the directories that
// hold what was read.
func readDirectory(ctx context.Context, root string, tests bool, limits Limits) (entries []entry, dirs []string, err error) {
	for range 5 {
		var before, after listing
		if before, err = list(root, tests, limits); err != nil {
			return nil, before.dirs, err
		}
		entries, err = readListing(before, limits)
		if after, _ = list(root, tests, limits); slices.Equal(before.files, after.files) {
			return entries, before.dirs, err
		}
		select {
		case <-ctx.Done():
			return nil, before.dirs, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil, nil, fmt.Errorf("%s keeps changing while it is read", root)
}

// listing is what a directory holds at one moment.
type listing struct {
	tests bool // whether tests are listed
	files []listed
	dirs  []string
}

type listed struct {
	path string // as in entry
	file string // where to read it
	size int64
	time int64 // of the last change, ns
}

func list(root string, tests bool, limits Limits) (listing, error) {
	l := listing{tests: tests}
	err := l.add(root, "", nil, limits)
	return l, err
}

// add lists one directory; above are the ones that it stands in, by identity.
func (l *listing) add(dir, prefix string, above []fs.FileInfo, limits Limits) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if len(above) == maxDirectoryDepth || slices.ContainsFunc(above, func(a fs.FileInfo) bool { return os.SameFile(a, info) }) {
		return fmt.Errorf("%s: directories nest in each other, or deeper than %d", dir, maxDirectoryDepth)
	}
	l.dirs = append(l.dirs, resolved(dir))
	found, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, f := range found {
		if err := l.addOne(filepath.Join(dir, f.Name()), path.Join(prefix, f.Name()), f, append(above, info), limits); err != nil {
			return err
		}
	}
	return nil
}

func (l *listing) addOne(file, name string, f fs.DirEntry, above []fs.FileInfo, limits Limits) error {
	e := entry{path: name}
	policy := name == manifestFile || !e.hidden() && (isTreeData(e) || e.isModule() && (l.tests || !e.isTest()))
	if e.hidden() && !policy {
		return nil
	}
	link := f.Type()&fs.ModeSymlink != 0
	if !policy && !link && !f.IsDir() {
		return nil
	}
	info, err := os.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist) && !policy:
		return nil // a dangling link to something else
	case err != nil:
		return err
	case link:
		l.dirs = append(l.dirs, watchPlaces(file)...)
	}
	switch {
	case info.IsDir():
		return l.add(file, name, above, limits)
	case !policy:
		return nil
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a plain file", file)
	case len(l.files) == limits.Files:
		return fmt.Errorf("%s: more than %d policy files", file, limits.Files)
	}
	l.files = append(l.files, listed{path: name, file: file, size: info.Size(), time: info.ModTime().UnixNano()})
	return nil
}

func readListing(l listing, limits Limits) ([]entry, error) {
	var entries []entry
	var total int64
	for _, f := range l.files {
		data, err := readCapped(f.file, limits.FileBytes)
		if err != nil {
			return nil, err
		}
		if total += int64(len(data)); total > limits.TotalBytes {
			return nil, tooMuch(limits.TotalBytes)
		}
		entries = append(entries, entry{path: f.path, data: data})
	}
	return entries, nil
}

// resolved is the path without links, or as it is where that cannot be said.
func resolved(name string) string {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		return target
	}
	return name
}

// watchPlaces are the directories in which a change may make path lead to
// something else: its own, and those of every link on the way.
func watchPlaces(name string) []string {
	name, err := filepath.Abs(name)
	if err != nil {
		return nil
	}
	var places []string
	for range 40 { // as many links as the kernel follows
		link, target, ok := firstLink(name)
		if !ok {
			break
		}
		places = append(places, resolved(filepath.Dir(link)))
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(link), target)
		}
		name = filepath.Join(target, strings.TrimPrefix(name, link))
	}
	// Where the path does not exist yet, the nearest that does.
	dir := filepath.Dir(name)
	for dir != filepath.Dir(dir) {
		if _, err := os.Stat(dir); err == nil {
			break
		}
		dir = filepath.Dir(dir)
	}
	return append(places, dir)
}

// firstLink finds the first link on the way to an absolute path.
func firstLink(name string) (link, target string, ok bool) {
	for i := 1; i <= len(name); i++ {
		if i < len(name) && name[i] != filepath.Separator {
			continue
		}
		if target, err := os.Readlink(name[:i]); err == nil {
			return name[:i], target, true
		}
	}
	return "", "", false
}
