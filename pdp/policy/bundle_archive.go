package policy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/loader/filter"
)

// unpack reads a gzip'd tar archive whole, in memory. It refuses what could be
// read in two ways (the same path twice, paths that lead elsewhere, links,
// anything behind the end) and stops at the limits, not behind them.
func unpack(archive []byte, limits Limits) ([]entry, error) {
	limits = limits.orDefault()
	if n := int64(len(archive)); n > limits.ArchiveBytes {
		return nil, fmt.Errorf("the bundle has %d bytes, more than the limit of %d", n, limits.ArchiveBytes)
	}
	zr, err := gzip.NewReader(bytes.NewReader(archive))
	if err != nil {
		return nil, fmt.Errorf("not a bundle: no gzip'd tar archive (%w)", err)
	}
	entries, err := untar(&capped{r: zr, left: limits.TotalBytes + 1, limit: limits.TotalBytes}, limits)
	if err != nil {
		return nil, fmt.Errorf("bundle archive: %w", err)
	}
	return entries, nil
}

func untar(r io.Reader, limits Limits) ([]entry, error) {
	var entries []entry
	seen := map[string]bool{}
	var total int64
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return entries, onlyPadding(r)
		}
		if err != nil {
			return nil, err
		}
		name, err := cleanName(h.Name)
		if err != nil {
			return nil, err
		}
		switch h.Typeflag {
		case tar.TypeDir, tar.TypeXGlobalHeader:
			continue
		case tar.TypeReg:
		default:
			return nil, fmt.Errorf("%q is a link or a device: a bundle holds plain files", name)
		}
		if seen[name] {
			return nil, fmt.Errorf("%q is in it twice", name)
		}
		seen[name] = true
		if len(entries) == limits.Files {
			return nil, fmt.Errorf("more than %d files", limits.Files)
		}
		if h.Size > limits.FileBytes {
			return nil, fmt.Errorf("%q has %d bytes, more than the limit of %d for one file", name, h.Size, limits.FileBytes)
		}
		// Counted here too, as a sparse file has more bytes than its archive.
		if total += h.Size; total > limits.TotalBytes {
			return nil, tooMuch(limits.TotalBytes)
		}
		// The header's size is a claim; the buffer grows with what really comes.
		data, err := io.ReadAll(tr)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", name, err)
		}
		entries = append(entries, entry{path: name, data: data})
	}
}

// onlyPadding reads on to the end, which also checks gzip's checksum.
func onlyPadding(r io.Reader) error {
	rest, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if len(bytes.TrimLeft(rest, "\x00")) > 0 {
		return errors.New("there is more behind the end of the archive")
	}
	return nil
}

// cleanName turns a name of the archive into a path relative to its root. OPA
// writes names with a leading slash, tar ones with a leading "./".
func cleanName(name string) (string, error) {
	if strings.ContainsAny(name, "\\\x00") || slices.Contains(strings.Split(name, "/"), "..") {
		return "", fmt.Errorf("%q leads out of the bundle", name)
	}
	return strings.TrimPrefix(path.Clean("/"+name), "/"), nil
}

// capped ends in an error, not in io.EOF, when more than limit bytes come.
type capped struct {
	r           io.Reader
	left, limit int64
}

func (c *capped) Read(p []byte) (int, error) {
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.r.Read(p)
	if c.left -= int64(n); c.left == 0 {
		return n, tooMuch(c.limit)
	}
	return n, err
}

func tooMuch(limit int64) error {
	return fmt.Errorf("its files have more than the limit of %d bytes together", limit)
}

// entryLoader hands files that are already in memory to OPA's bundle reader.
type entryLoader struct {
	entries []entry
	next    int
}

// NextFile implements bundle.DirectoryLoader.
func (l *entryLoader) NextFile() (*bundle.Descriptor, error) {
	if l.next == len(l.entries) {
		return nil, io.EOF
	}
	e := l.entries[l.next]
	l.next++
	return bundle.NewDescriptor(e.path, e.path, bytes.NewBuffer(slices.Clone(e.data))), nil
}

// The rest of bundle.DirectoryLoader is settings that files in memory have no
// use for.

func (l *entryLoader) WithFilter(filter.LoaderFilter) bundle.DirectoryLoader   { return l }
func (l *entryLoader) WithPathFormat(bundle.PathFormat) bundle.DirectoryLoader { return l }
func (l *entryLoader) WithSizeLimitBytes(int64) bundle.DirectoryLoader         { return l }
func (l *entryLoader) WithFollowSymlinks(bool) bundle.DirectoryLoader          { return l }
