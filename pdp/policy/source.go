package policy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// Source is a place that a policy is read from: a directory, a bundle.tar.gz
// in OPA's format, or an http(s) URL of one. It keeps no state between reads
// and is safe for concurrent use.
type Source struct {
	path       string  // a directory or a file; empty for a URL
	remote     *remote // nil for a path
	keys       *verification
	unverified bool
	tests      bool
	limits     Limits
	poll       time.Duration
}

// SourceOptions say how far a source is trusted, and how it is asked.
type SourceOptions struct {
	// PublicKey is a PEM public key or certificate (RSA, ECDSA or Ed25519).
	// When it is set, only bundles that are signed with it under KeyID are
	// accepted, and only ones with a newer revision than the one in force.
	PublicKey []byte
	// KeyID is the key id that the signature has to name.
	KeyID string
	// Unverified accepts signed bundles without a key to verify them. It is
	// for tools that look into a bundle, not for what is put in force.
	Unverified bool
	// Tests reads the tests (*_test.rego) of a directory as well, for tools that
	// run them.
	Tests bool

	// Token is sent as the bearer token to a URL, and to its host only.
	Token string
	// Poll is how often a URL is asked, with up to a fifth of jitter; default
	// 30 s. Where the server knows OPA's long polling it answers when
	// there is something new, and Poll is how long it may take.
	Poll time.Duration
	// PlainHTTP accepts an http URL beyond this machine although no PublicKey
	// protects the policy, or although a Token would cross the network.
	PlainHTTP bool
	// Transport replaces http.DefaultTransport.
	Transport http.RoundTripper

	Limits Limits
}

// NewSource checks the location and the options; nothing is read yet, and the
// location need not exist yet.
func NewSource(location string, o SourceOptions) (*Source, error) {
	s := &Source{unverified: o.Unverified, tests: o.Tests, limits: o.Limits.orDefault(), poll: o.Poll}
	if s.poll <= 0 {
		s.poll = 30 * time.Second
	}
	if len(o.PublicKey) > 0 || o.KeyID != "" {
		keys, err := newVerification(o.PublicKey, o.KeyID)
		if err != nil {
			return nil, err
		}
		s.keys = keys
	}
	scheme, _, isURL := strings.Cut(location, "://")
	switch {
	case location == "":
		return nil, errors.New("no policy source: name a directory, a bundle.tar.gz or an https:// URL of one")
	case !isURL:
		s.path = filepath.Clean(location)
		return s, nil
	case scheme == "oci":
		return nil, errors.New("policy source: oci:// is not supported: serve the bundle.tar.gz at an https:// URL")
	case scheme != "http" && scheme != "https":
		return nil, fmt.Errorf("policy source: %s:// is not supported: name a directory, a bundle.tar.gz or an https:// URL of one", scheme)
	}
	u, err := url.Parse(location)
	if err != nil || u.Host == "" || u.User != nil || u.Fragment != "" {
		return nil, errors.New("policy source: want https://host[:port]/path without user name and fragment; credentials go into the token")
	}
	if u.Scheme == "http" && !o.PlainHTTP && !loopback(u.Hostname()) {
		switch {
		case o.Token != "":
			return nil, errors.New("policy source: a token over plain http can be read on its way: use https")
		case s.keys == nil:
			return nil, errors.New("policy source: an unsigned policy over plain http can be changed on its way: use https, or sign it and set the public key")
		}
	}
	s.remote = newRemote(u, o.Token, o.Transport, s.limits.ArchiveBytes)
	return s, nil
}

// String is the location without anything secret: of a URL, no query.
func (s *Source) String() string {
	if s.remote != nil {
		return s.remote.String()
	}
	return s.path
}

// verified reports whether what the source gives is signed.
func (s *Source) verified() bool { return s.keys != nil }

// Read reads the policy once: verified, strictly parsed, its tests left out
// unless they are wanted.
func (s *Source) Read(ctx context.Context) (*bundle.Bundle, error) {
	r, err := s.read(ctx, condition{})
	if err != nil {
		return nil, err
	}
	return r.bundle, nil
}

// condition is what makes reading again unnecessary; remote sources only.
type condition struct {
	etag string        // of what is in force
	wait time.Duration // how long the server may hold its answer; 0 when it cannot
}

// reading is what came of reading a source.
type reading struct {
	bundle   *bundle.Bundle // nil: the same as condition.etag names
	archive  []byte         // the bytes of a remote bundle
	etag     string
	longPoll bool     // the server knows long polling
	places   []string // directories in which a change may change what is read
}

func (s *Source) read(ctx context.Context, c condition) (reading, error) {
	if s.remote != nil {
		return s.readRemote(ctx, c)
	}
	places := watchPlaces(s.path)
	info, err := os.Stat(s.path)
	switch {
	case err != nil:
		return reading{places: places}, err
	case !info.IsDir():
		archive, err := readCapped(s.path, s.limits.ArchiveBytes)
		if err != nil {
			return reading{places: places}, err
		}
		b, err := s.parse(archive)
		return reading{bundle: b, places: places}, err
	case s.keys != nil:
		return reading{places: places}, fmt.Errorf("%s: a directory carries no signature, and a public key is configured: use a signed bundle.tar.gz", s.path)
	}
	entries, dirs, err := readDirectory(ctx, s.path, s.tests, s.limits)
	r := reading{places: append(places, dirs...)}
	if err != nil {
		return r, err
	}
	r.bundle, err = readTree(entries)
	return r, err
}

func (s *Source) readRemote(ctx context.Context, c condition) (reading, error) {
	d, err := s.remote.get(ctx, c)
	if err != nil || d.unchanged {
		return reading{etag: c.etag, longPoll: d.longPoll}, err
	}
	b, err := s.parse(d.body)
	return reading{bundle: b, archive: d.body, etag: d.etag, longPoll: d.longPoll}, err
}

// parse understands an archive.
func (s *Source) parse(archive []byte) (*bundle.Bundle, error) {
	entries, err := unpack(archive, s.limits)
	if err != nil {
		return nil, err
	}
	return readArchive(entries, s.keys, s.unverified)
}

// readCapped reads a file that may have at most limit bytes.
func readCapped(name string, limit int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("%s has more than the limit of %d bytes", name, limit)
	}
	return data, err
}
