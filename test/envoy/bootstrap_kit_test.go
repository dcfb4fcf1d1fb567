// Package envoy runs the real Envoy with the configurations that the project
// writes for it.
package envoy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/mcpermit/mcpermit/pep/envoy/bootstrap"
	"github.com/mcpermit/mcpermit/test/gateway"
	"github.com/mcpermit/mcpermit/test/parts"
)

// configure writes the configuration of the options to a file.
func configure(t *testing.T, o bootstrap.Options) (path string) {
	t.Helper()
	b, err := bootstrap.New(o)
	if err != nil {
		t.Fatal(err)
	}
	text, err := bootstrap.YAML(b)
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// startEnvoy runs an Envoy until the test ends, and waits until it listens.
func startEnvoy(t *testing.T, o bootstrap.Options) {
	t.Helper()
	log, err := os.Create(filepath.Join(t.TempDir(), "envoy.log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(parts.Of(t).Envoy, "-c", configure(t, o),
		"--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn", "--parent-shutdown-time-s", "1")
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		_ = cmd.Wait() // that it has ended is what counts
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
		if text, err := os.ReadFile(log.Name()); t.Failed() && err == nil {
			t.Logf("envoy wrote:\n%s", text)
		}
	})
	within(t, "envoy listens", func() bool {
		select {
		case <-done:
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("envoy ended:\n%s", text)
		default:
		}
		c, err := net.Dial("tcp", o.Listen)
		if err != nil {
			return false
		}
		c.Close()
		return true
	})
}

// within waits until ok, a minute at most.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline.C:
			t.Fatalf("not within a minute: %s", what)
		case <-tick.C:
		}
	}
}

// point is an enforcement point of the test's making. It says what the test
// says, and remembers what it was asked and told.
type point struct {
	// check and answer are set before it serves. check is called under mu.
	check  func(*authv3.CheckRequest) *authv3.CheckResponse
	answer func(procv3.ExternalProcessor_ProcessServer) error

	mu    sync.Mutex
	asked []*authv3.CheckRequest
	told  []*accesslogv3.StreamAccessLogsMessage
}

// Check implements ext_authz.
func (p *point) Check(_ context.Context, r *authv3.CheckRequest) (*authv3.CheckResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, r)
	return p.check(r), nil
}

// change changes what check goes by.
func (p *point) change(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

// last is what it was asked last.
func (p *point) last() *authv3.CheckRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.asked[len(p.asked)-1]
}

// Process implements ext_proc.
func (p *point) Process(s procv3.ExternalProcessor_ProcessServer) error {
	if p.answer == nil {
		return echo(s)
	}
	return p.answer(s)
}

// StreamAccessLogs implements the access log service.
func (p *point) StreamAccessLogs(s accesslogv3.AccessLogService_StreamAccessLogsServer) error {
	for {
		m, err := s.Recv()
		if err != nil {
			return err
		}
		p.mu.Lock()
		p.told = append(p.told, m)
		p.mu.Unlock()
	}
}

// serve serves at the address until the test ends.
func (p *point) serve(t *testing.T, network, address string) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(16 << 20))
	authv3.RegisterAuthorizationServer(s, p)
	procv3.RegisterExternalProcessorServer(s, p)
	accesslogv3.RegisterAccessLogServiceServer(s, p)
	h := health.NewServer()
	h.SetServingStatus("envoy.service.auth.v3.Authorization", grpc_health_v1.HealthCheckResponse_SERVING)
	grpc_health_v1.RegisterHealthServer(s, h)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
}

// bench is an Envoy between a client, an enforcement point and one server
// called "pay".
type bench struct {
	url      string // of the server at the Envoy
	address  string // of the Envoy
	upstream *httptest.Server
}

// limit is the longest frame at a bench.
const limit = 64 << 10

// ordinary has the upstream's answers be JSON documents where it says nothing
// else: they are not read.
func ordinary(upstream http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		upstream(w, r)
	})
}

// set starts everything, and waits until the enforcement point is asked.
func set(t *testing.T, p *point, upstream http.HandlerFunc) *bench {
	t.Helper()
	b := &bench{address: gateway.FreeAddress(t), upstream: httptest.NewServer(ordinary(upstream))}
	t.Cleanup(b.upstream.Close)
	b.url = "http://" + b.address + "/mcp/pay/"
	pep := gateway.FreeAddress(t)
	p.serve(t, "tcp", pep)
	startEnvoy(t, bootstrap.Options{
		Listen: b.address, PEP: pep, MaxBytes: limit,
		Servers: []bootstrap.Server{{Name: "pay", URL: b.upstream.URL + "/v1/mcp?tenant=7"}},
	})
	within(t, "the enforcement point is asked", func() bool {
		post(t, b.url, "ready?")
		p.mu.Lock()
		defer p.mu.Unlock()
		return len(p.asked) > 0
	})
	return b
}

// reply is an HTTP response that was read to its end.
type reply struct {
	status int
	header http.Header
	body   string
	err    error // of reading the body
}

func post(t *testing.T, url, body string) reply {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return do(t, r)
}

func do(t *testing.T, r *http.Request) reply {
	t.Helper()
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return reply{res.StatusCode, res.Header, string(text), err}
}

func (r reply) String() string { return fmt.Sprintf("%d %v %q", r.status, r.header, r.body) }
