//go:build unix

package proxy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pep"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// lenient is a PDP that allows at once, so that a benchmark sees the PEP alone.
type lenient struct {
	v1.UnimplementedDecisionServiceServer
	calls atomic.Int64
}

func (d *lenient) Decide(context.Context, *v1.DecideRequest) (*v1.DecideResponse, error) {
	d.calls.Add(1)
	return &v1.DecideResponse{
		DecisionId: "0198f0a0-0000-7000-8000-000000000000", GrantId: "g", Subject: tokens["alice"],
		Effect: v1.Effect_EFFECT_ALLOW, ReasonCode: v1.ReasonCode_REASON_CODE_POLICY,
	}, nil
}

func (d *lenient) DecideList(_ context.Context, r *v1.DecideListRequest) (*v1.DecideListResponse, error) {
	res := &v1.DecideListResponse{}
	for range r.GetItems() {
		res.Items = append(res.Items, &v1.ItemDecision{Effect: v1.Effect_EFFECT_ALLOW})
	}
	return res, nil
}

func (d *lenient) AwaitApproval(context.Context, *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	return nil, errors.ErrUnsupported
}

func (d *lenient) Complete(context.Context, *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	return &v1.CompleteResponse{}, nil
}

// BenchmarkCall is one tools/call through the proxy to a server on loopback,
// beside the same call through a reverse proxy that does nothing. The client
// costs next to nothing, the server is counted in both. cpu-µs/op is the
// process's time on all cores, which other load on the machine disturbs less.
func BenchmarkCall(b *testing.B) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body[:min(len(body), 256)]), `"tools/list"`) {
			replyJSON(w, result(idOf(string(body)), toolList))
			return
		}
		replyJSON(w, result("17", `{"content":[{"type":"text","text":"done"}]}`))
	}))
	defer up.Close()
	u, err := url.Parse(up.URL + "/mcp")
	if err != nil {
		b.Fatal(err)
	}
	for _, size := range []struct {
		name  string
		bytes int
	}{{"small", 32}, {"64KiB", 64 << 10}} {
		body := call("17", "echo", `{"text":"`+strings.Repeat("x", size.bytes)+`"}`)
		b.Run("reverse/"+size.name, func(b *testing.B) {
			transport := NewTransport(nil)
			defer transport.CloseIdleConnections()
			s := httptest.NewServer(&httputil.ReverseProxy{
				Transport: transport,
				Rewrite:   func(r *httputil.ProxyRequest) { r.Out.URL, r.Out.Host = u, "" },
			})
			defer s.Close()
			benchmarkCalls(b, s.Listener.Addr().String(), body)
		})
		b.Run("proxy/"+size.name, func(b *testing.B) {
			e := pep.NewEnforcer(new(lenient), pep.EnforcerOptions{Logger: slog.New(slog.DiscardHandler)})
			defer e.Close(context.Background())
			p, err := New(Options{Servers: []Server{{Name: "s", URL: u}}, Enforcer: e, Logger: slog.New(slog.DiscardHandler)})
			if err != nil {
				b.Fatal(err)
			}
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				b.Fatal(err)
			}
			server := NewHTTPServer("", p)
			go func() { _ = server.Serve(p.Guard(l)) }()
			defer server.Close()
			defer func() { _ = p.Shutdown(context.Background()) }()
			benchmarkCalls(b, l.Addr().String(), body)
		})
	}
}

func benchmarkCalls(b *testing.B, addr, body string) {
	b.Helper()
	request := []byte(fmt.Sprintf("POST /mcp/s/ HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"+
		"Accept: application/json, text/event-stream\r\nAuthorization: Bearer alice\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
	b.ReportAllocs()
	b.SetParallelism(8)
	before := processTime(b)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		from := bufio.NewReader(c)
		for pb.Next() {
			if err := exchange(c, from, request); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.StopTimer()
	b.ReportMetric(float64((processTime(b)-before).Microseconds())/float64(b.N), "cpu-µs/op")
}

// exchange sends one request and reads its answer without a net/http client.
func exchange(c net.Conn, from *bufio.Reader, request []byte) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	line, err := from.ReadSlice('\n')
	if err != nil || !strings.HasPrefix(string(line), "HTTP/1.1 200") {
		return fmt.Errorf("answer %q: %w", line, err)
	}
	length := 0
	for len(line) > 2 {
		if line, err = from.ReadSlice('\n'); err != nil {
			return err
		}
		if _, after, ok := strings.Cut(string(line), "Content-Length: "); ok {
			_, _ = fmt.Sscan(after, &length)
		}
	}
	_, err = from.Discard(length)
	return err
}

func processTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
