package policy

import (
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// bundleServer serves one bundle as a bundle server does, and keeps what it
// was asked.
type bundleServer struct {
	*httptest.Server
	mu       sync.Mutex
	archive  []byte
	etag     string
	status   int           // instead of the bundle, when it is not 0
	changed  chan struct{} // closed when there is another bundle
	longPoll bool
	asked    []http.Header
}

func newBundleServer(t *testing.T, archive []byte) *bundleServer {
	t.Helper()
	s := &bundleServer{changed: make(chan struct{})}
	s.put(archive)
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *bundleServer) put(archive []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.archive, s.etag = archive, fmt.Sprintf(`"%d"`, time.Now().UnixNano())
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *bundleServer) fail(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

func (s *bundleServer) requests() []http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]http.Header(nil), s.asked...)
}

func (s *bundleServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.asked = append(s.asked, r.Header.Clone())
	etag, changed, longPoll := s.etag, s.changed, s.longPoll
	s.mu.Unlock()
	if longPoll && r.Header.Get("If-None-Match") == etag && strings.Contains(r.Header.Get("Prefer"), "wait=") {
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.status != 0:
		w.Header().Set("Retry-After", "1")
		http.Error(w, "not now", s.status)
	case r.Header.Get("If-None-Match") == s.etag:
		w.WriteHeader(http.StatusNotModified)
	default:
		w.Header().Set("ETag", s.etag)
		if longPoll {
			w.Header().Set("Content-Type", longPollType)
		}
		_, _ = w.Write(s.archive)
	}
}

func TestPollURL(t *testing.T) {
	s := newBundleServer(t, tarball(t, good("1")...))
	l := running(t, s.URL+"/bundle.tar.gz?sig=secret", LoaderOptions{}, SourceOptions{Poll: 10 * time.Millisecond, Token: "bundle-token"})
	eventually(t, l, "start", inForce("1"))
	for i := len(s.requests()); len(s.requests()) < i+3; {
		time.Sleep(time.Millisecond)
	}
	asked := s.requests()
	if got := asked[0]; got.Get("If-None-Match") != "" || got.Get("Prefer") != "modes=snapshot" || got.Get("Authorization") != "Bearer bundle-token" {
		t.Errorf("first request: %v", got)
	}
	if got := asked[len(asked)-1]; got.Get("If-None-Match") == "" {
		t.Errorf("later request without its ETag: %v", got)
	}
	s.put(tarball(t, good("2")...))
	eventually(t, l, "another bundle", inForce("2"))

	s.put([]byte("bad"))
	eventually(t, l, "a bad bundle", func(st Status) bool { return st.LastError != "" && st.Revision.Revision == "2" })
	s.fail(http.StatusServiceUnavailable)
	eventually(t, l, "an outage", func(st Status) bool { return strings.Contains(st.LastError, "503") && st.Revision.Revision == "2" })
	for _, secret := range []string{"secret", "bundle-token"} {
		if st := l.Status(); strings.Contains(st.LastError+st.Source, secret) {
			t.Errorf("I6: the status tells %q: %+v", secret, st)
		}
	}
	s.fail(0)
	s.put(tarball(t, good("3")...))
	eventually(t, l, "recovery", inForce("3"))
}

// TestLongPoll: the server answers when there is something new, long before
// the next poll would be due.
func TestLongPoll(t *testing.T) {
	s := newBundleServer(t, tarball(t, good("1")...))
	s.longPoll = true
	l := running(t, s.URL, LoaderOptions{}, SourceOptions{Poll: time.Minute})
	for _, revision := range []string{"1", "2", "3"} {
		eventually(t, l, "revision "+revision, inForce(revision))
		next := string(revision[0] + 1)
		s.put(tarball(t, good(next)...))
	}
	eventually(t, l, "the last", inForce("4"))
	asked := s.requests()
	if got := asked[len(asked)-1].Get("Prefer"); got != "modes=snapshot;wait=60" {
		t.Errorf("Prefer: %q", got)
	}
	if len(asked) > 8 {
		t.Errorf("%d requests for four bundles", len(asked))
	}
}

// TestPretendedLongPoll: a server that says it knows long polling and answers
// at once is not asked in a loop.
func TestPretendedLongPoll(t *testing.T) {
	var mu sync.Mutex
	n := 0
	archive := tarball(t, good("1")...)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		n++
		mu.Unlock()
		w.Header().Set("Content-Type", longPollType)
		_, _ = w.Write(archive)
	}))
	t.Cleanup(s.Close)
	l := running(t, s.URL, LoaderOptions{}, SourceOptions{Poll: time.Hour})
	eventually(t, l, "start", inForce("1"))
	// Two requests are due at once: the first, and the first long one. Were
	// there a loop, this many would come by far sooner.
	for deadline := time.Now().Add(300 * time.Millisecond); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		mu.Lock()
		asked := n
		mu.Unlock()
		if asked > 2 {
			t.Fatalf("asked %d times", asked)
		}
	}
}

func TestRemoteRefuses(t *testing.T) {
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write(tarball(t, good("9")...))
	}))
	t.Cleanup(elsewhere.Close)
	for _, tt := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"redirect to another host", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, elsewhere.URL, http.StatusFound)
		}, "redirects to"},
		{"redirect without end", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, r.URL.Path+"/x", http.StatusFound)
		}, "more than five"},
		{"not found", http.NotFound, "404"},
		{"not modified, unasked", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotModified) }, "304"},
		{"empty", func(http.ResponseWriter, *http.Request) {}, "no gzip'd tar archive"},
		{"too long", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 1<<20)) }, "more than the limit"},
		{"cut off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "x")
		}, "did not arrive whole"},
		{"encoded", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			_, _ = w.Write(tarball(t, good("1")...))
		}, "Content-Encoding"},
		{"a page", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>log in") }, "no gzip'd tar archive"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := httptest.NewServer(tt.answer)
			defer s.Close()
			source, err := NewSource(s.URL+"/bundle?sig=secret", SourceOptions{Token: "token", Limits: Limits{ArchiveBytes: 1 << 19}})
			if err != nil {
				t.Fatal(err)
			}
			_, err = source.Read(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("Read: %v, want an error with %q", err, tt.want)
			}
		})
	}
	t.Run("nobody there", func(t *testing.T) {
		s := httptest.NewServer(http.NotFoundHandler())
		s.Close()
		source, err := NewSource(s.URL+"/bundle?sig=secret", SourceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := source.Read(t.Context()); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("Read: %v", err)
		}
	})
	t.Run("redirect on the host", func(t *testing.T) {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/final" {
				http.Redirect(w, r, "/final", http.StatusFound)
				return
			}
			_, _ = w.Write(tarball(t, good("1")...))
		}))
		defer s.Close()
		source, err := NewSource(s.URL, SourceOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if b, err := source.Read(t.Context()); err != nil || b.Manifest.Revision != "1" {
			t.Errorf("Read: %v", err)
		}
	})
}

// TestI11_KeptCopy: after a restart the last good bundle decides until the
// source answers, it is verified as if it had just come, and an older one does
// not replace it.
func TestI11_KeptCopy(t *testing.T) {
	key := ecKey(t, "prod")
	s := newBundleServer(t, signed(t, key, good("5")...))
	keep := filepath.Join(t.TempDir(), "state", "policy")
	start := func(key *SigningKey) *Loader {
		source, err := NewSource(s.URL, SourceOptions{PublicKey: key.PublicKey(), KeyID: "prod"})
		if err != nil {
			t.Fatal(err)
		}
		return NewLoader(source, LoaderOptions{KeepDir: keep, Log: slog.New(slog.DiscardHandler)})
	}
	l := start(key)
	if err := l.Reload(t.Context()); err != nil || l.Status().Kept {
		t.Fatalf("%v, %+v", err, l.Status())
	}
	files, err := filepath.Glob(filepath.Join(keep, "*"))
	if err != nil || len(files) != 1 {
		t.Fatalf("kept: %v, %v", files, err)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode: %v, %v", info.Mode(), err)
	}

	s.fail(http.StatusBadGateway)
	l = start(key)
	if err := l.Reload(t.Context()); err == nil {
		t.Error("the outage is no error")
	}
	if st := l.Status(); !st.Ready || !st.Kept || st.Revision.Revision != "5" || st.LastError == "" {
		t.Errorf("restarted in an outage: %+v", st)
	}

	s.fail(0)
	if err := l.Reload(t.Context()); err != nil || l.Status().Kept {
		t.Errorf("after the outage: %v, %+v", err, l.Status())
	}

	s.put(signed(t, key, good("4")...))
	l = start(key)
	if err := l.Reload(t.Context()); err == nil || !strings.Contains(err.Error(), "older") || l.Status().Revision.Revision != "5" {
		t.Errorf("rolled back over a restart: %v, %+v", err, l.Status())
	}

	l = start(ecKey(t, "prod"))
	if err := l.Reload(t.Context()); err == nil || l.Current() != nil {
		t.Errorf("the copy is in force under another key: %v", err)
	}

	if err := os.WriteFile(files[0], []byte("torn"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.put(signed(t, key, good("6")...))
	l = start(key)
	if err := l.Reload(t.Context()); err != nil || l.Status().Revision.Revision != "6" {
		t.Errorf("with a torn copy: %v, %+v", err, l.Status())
	}
}

func TestBackOff(t *testing.T) {
	last := time.Duration(0)
	for failures := range 100 {
		d := backOff(failures, io.EOF, 30*time.Second)
		if d < min(last, 30*time.Second)/2 || d > 36*time.Second+1 {
			t.Errorf("after %d failures: %v", failures, d)
		}
		last = d
	}
	if d := backOff(0, fmt.Errorf("wrapped: %w", &retryLater{io.EOF, time.Minute}), 30*time.Second); d < time.Minute || d > 73*time.Second {
		t.Errorf("Retry-After: %v", d)
	}
}
