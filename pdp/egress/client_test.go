package egress

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

func get(t *testing.T, c *http.Client, url string) (string, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer canary")
	res, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return string(b), err
}

func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

func pool(s *httptest.Server) *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(s.Certificate())
	return p
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }

func TestTheZeroValueRefusesLoopbackAndHTTP(t *testing.T) {
	var asked atomic.Int32
	plain := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	secure := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked.Add(1) }))
	defer secure.Close()
	for _, o := range []Options{{}, {HTTP: true}, {RootCAs: pool(secure)}, {Trusted: []string{"http://127.0.0.1:1", "ftp://127.0.0.1", "127.0.0.1", ":"}}} {
		for _, u := range []string{plain.URL, secure.URL, "http://[::ffff:127.0.0.1]:" + port(t, plain.URL), "ftp://127.0.0.1/", "file:///etc/passwd", "http:///x", "https://u:p@" + strings.TrimPrefix(secure.URL, "https://")} {
			if _, err := get(t, New(o), u); !errors.Is(err, ErrRefused) && !strings.Contains(fmt.Sprint(err), "no Host") {
				t.Errorf("%s: %v", u, err)
			}
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests went out", n)
	}
}

func TestTrustedHosts(t *testing.T) {
	secure := httptest.NewTLSServer(http.HandlerFunc(hello))
	defer secure.Close()
	plain := serve(t, hello)
	c := New(Options{Trusted: []string{secure.URL + "/realms/a", plain.URL}, RootCAs: pool(secure)})
	for _, u := range []string{secure.URL + "/x", plain.URL} {
		if got, err := get(t, c, u); got != "hello" || err != nil {
			t.Errorf("%s: %q, %v", u, got, err)
		}
	}
	if _, err := get(t, c, strings.Replace(plain.URL, "http://", "http://u:p@", 1)); !errors.Is(err, ErrRefused) {
		t.Errorf("a user and a password: %v", err)
	}
	// https is not to be had without TLS because the host is known.
	downgraded := "http" + strings.TrimPrefix(secure.URL, "https")
	if _, err := get(t, c, downgraded); !errors.Is(err, ErrRefused) {
		t.Errorf("%s: %v", downgraded, err)
	}
	if _, err := get(t, New(Options{Trusted: []string{secure.URL}}), secure.URL); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("without its CA: %v", err)
	}
}

func TestAllowIsForEveryHost(t *testing.T) {
	s := serve(t, hello)
	allow := []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	if _, err := get(t, New(Options{Allow: allow}), s.URL); !errors.Is(err, ErrRefused) {
		t.Errorf("http: %v", err)
	}
	if got, err := get(t, New(Options{Allow: allow, HTTP: true}), s.URL); got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
}

// A name is looked up when the connection is made, and what it says at that time
// is what counts: a look at the name beforehand would have seen a public address.
func TestDNSRebinding(t *testing.T) {
	var asked atomic.Int32
	s := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	rebinding := &names{answers: []string{"8.8.8.8", "127.0.0.1", "127.0.0.1", "169.254.169.254", "10.0.0.1"}}
	r := rebinding.resolver()
	if a, err := r.LookupHost(t.Context(), "rebinding.example"); err != nil || a[0] != "8.8.8.8" {
		t.Fatalf("the look beforehand: %v, %v", a, err)
	}
	u := "http://rebinding.example:" + port(t, s.URL)
	for range rebinding.answers[1:] {
		if _, err := get(t, New(Options{HTTP: true, Resolver: r}), u); !errors.Is(err, ErrRefused) {
			t.Errorf("%v", err)
		}
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
	// The same way leads somewhere when the address may be connected to.
	loopback := &names{answers: []string{"127.0.0.1"}}
	if _, err := get(t, New(Options{HTTP: true, Resolver: loopback.resolver(), Trusted: []string{u}}), u); err != nil || asked.Load() != 1 {
		t.Errorf("trusted: %v, %d requests", err, asked.Load())
	}
}

// The name of a trusted host that has come to point at a metadata service.
func TestATrustedNameMustNotLeadToMetadata(t *testing.T) {
	n := &names{answers: []string{"169.254.169.254"}}
	const u = "http://idp.internal/keys"
	if _, err := get(t, New(Options{Resolver: n.resolver(), Trusted: []string{u}}), u); !errors.Is(err, ErrRefused) {
		t.Errorf("%v", err)
	}
}

func TestRedirects(t *testing.T) {
	var elsewhere atomic.Int32
	other := serve(t, func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) })
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		switch r.URL.Path {
		case "/hops":
			if n > 0 {
				http.Redirect(w, r, fmt.Sprintf("/hops?n=%d", n-1), http.StatusFound)
				return
			}
			fmt.Fprint(w, r.Header.Get("Authorization"))
		case "/loop":
			http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
		case "/other":
			http.Redirect(w, r, other.URL, http.StatusFound)
		case "/name":
			http.Redirect(w, r, "http://localhost:"+port(t, other.URL), http.StatusFound)
		case "/file":
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		case "/metadata":
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		}
	})
	// All are trusted: it is the redirect alone that is refused.
	c := New(Options{Trusted: []string{s.URL, other.URL, "http://localhost:" + port(t, other.URL)}, HTTP: true})
	if got, err := get(t, c, s.URL+"/hops?n=3"); got != "Bearer canary" || err != nil {
		t.Errorf("three redirects of the same host: %q, %v", got, err)
	}
	for _, path := range []string{"/hops?n=4", "/loop", "/other", "/name", "/file", "/metadata"} {
		if _, err := get(t, c, s.URL+path); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if n := elsewhere.Load(); n != 0 {
		t.Errorf("%d requests went elsewhere", n)
	}
}

func TestAnswersAreBounded(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.Atoi(r.URL.Query().Get("n"))
		if r.URL.Path == "/known" {
			w.Header().Set("Content-Length", strconv.Itoa(n))
		} else {
			w.(http.Flusher).Flush() // chunked
		}
		chunk := make([]byte, 32<<10)
		for n > 0 {
			m, err := w.Write(chunk[:min(n, len(chunk))])
			if n -= m; err != nil {
				return
			}
		}
	})
	c := New(Options{Trusted: []string{s.URL}, MaxBody: 1000})
	for _, path := range []string{"/known", "/streamed"} {
		for n, want := range map[int]error{0: nil, 999: nil, 1000: nil, 1001: ErrTooLong, 1 << 30: ErrTooLong} {
			got, err := get(t, c, fmt.Sprintf("%s%s?n=%d", s.URL, path, n))
			if !errors.Is(err, want) || want == nil && len(got) != n {
				t.Errorf("%s %d: %d bytes, %v", path, n, len(got), err)
			}
		}
	}
}

func TestAGigabyteIsNotHeld(t *testing.T) {
	var sent atomic.Int64
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := make([]byte, 64<<10)
		for sent.Load() < 1<<30 {
			n, err := w.Write(chunk)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := get(t, New(Options{Trusted: []string{s.URL}}), s.URL); !errors.Is(err, ErrTooLong) {
		t.Errorf("%v", err)
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 32<<20 {
		t.Errorf("%d bytes were allocated", n)
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d bytes were taken", n)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X", strings.Repeat("x", 1<<20)) })
	if _, err := get(t, New(Options{Trusted: []string{s.URL}}), s.URL); err == nil {
		t.Error("a megabyte of headers was read")
	}
}

func TestTimeOut(t *testing.T) {
	s := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.(http.Flusher).Flush()
		<-r.Context().Done() // the answer begins, and does not end
	})
	_, err := get(t, New(Options{Trusted: []string{s.URL}, Timeout: 50 * time.Millisecond}), s.URL)
	if e := net.Error(nil); !errors.As(err, &e) || !e.Timeout() {
		t.Errorf("%v", err)
	}
}

// A proxy of the environment would be what the guard sees in place of the host.
// (The environment cannot be tried: net/http reads it once for a process.)
func TestNoProxy(t *testing.T) {
	if New(Options{}).Transport.(*guard).transport.Proxy != nil {
		t.Error("requests go through a proxy")
	}
}

func port(t *testing.T, s string) string {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u.Port()
}

// names is a DNS server that answers each question with the next address.
type names struct {
	mu      sync.Mutex
	answers []string
	asked   int
}

func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go n.answer(server)
		return client, nil
	}}
}

// answer speaks DNS over a stream: each message has its length before it.
func (n *names) answer(c net.Conn) {
	defer c.Close()
	for {
		var size [2]byte
		if _, err := io.ReadFull(c, size[:]); err != nil {
			return
		}
		b := make([]byte, int(size[0])<<8|int(size[1]))
		if _, err := io.ReadFull(c, b); err != nil {
			return
		}
		var m dnsmessage.Message
		if m.Unpack(b) != nil {
			return
		}
		m.Response, m.Authoritative, m.Additionals = true, true, nil
		if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: netip.MustParseAddr(n.next()).As4()},
			}}
		}
		out, err := m.Pack()
		if err != nil {
			return
		}
		if _, err := c.Write(append([]byte{byte(len(out) >> 8), byte(len(out))}, out...)); err != nil {
			return
		}
	}
}

func (n *names) next() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	a := n.answers[min(n.asked, len(n.answers)-1)]
	n.asked++
	return a
}
