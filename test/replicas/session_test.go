package replicas

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/mcpermit/mcpermit/test/databases"
)

// balancer sends what arrives to one replica's proxy or another's.
type balancer struct {
	*httptest.Server
	choose   func() int
	statuses [600]atomic.Int64 // how often each was answered
}

func newBalancer(t *testing.T, all []replica, choose func() int) *balancer {
	t.Helper()
	b := &balancer{choose: choose}
	var ways []*httputil.ReverseProxy
	transport := &http.Transport{}
	for _, r := range all {
		to, err := url.Parse(r.URL)
		if err != nil {
			t.Fatal(err)
		}
		ways = append(ways, &httputil.ReverseProxy{
			Transport: transport,
			Rewrite:   func(p *httputil.ProxyRequest) { p.SetURL(to) },
			ModifyResponse: func(res *http.Response) error {
				b.statuses[res.StatusCode].Add(1)
				return nil
			},
			ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
		})
	}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ways[b.choose()].ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		b.CloseClientConnections()
		b.Close()
		transport.CloseIdleConnections()
	})
	return b
}

// connect opens a conversation by way of the balancer, in the newest version
// that both sides know or the given one.
func (b *balancer) connect(t *testing.T, g *grant, version string) *mcp.ClientSession {
	t.Helper()
	transport := &http.Transport{}
	client := mcp.NewClient(&mcp.Implementation{Name: "t", Version: "1"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint: b.URL + "/mcp/up/", HTTPClient: &http.Client{Transport: withToken{g.token, transport}},
	}, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = session.Close() // it may have ended
		transport.CloseIdleConnections()
	})
	return session
}

type withToken struct {
	token string
	next  http.RoundTripper
}

// RoundTrip implements [http.RoundTripper].
func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+w.token)
	return w.next.RoundTrip(r)
}

func look(ctx context.Context, s *mcp.ClientSession) error {
	res, err := s.CallTool(ctx, &mcp.CallToolParams{Name: "look", Arguments: map[string]any{}})
	if err != nil {
		return err
	}
	text, _ := res.Content[0].(*mcp.TextContent)
	if res.IsError || text == nil || text.Text != "seen" {
		return errors.New("refused: " + text.Text)
	}
	return nil
}

// In 2026-07-28 nothing is bound to the proxy that served the last call.
func TestAModernClientMayUseAnotherReplicaForEachCall(t *testing.T) {
	upstream := newUpstream(t)
	all := started(t, prepareServing(t, 2, databases.Postgres(t, "-c", "fsync=off").Database(t), nil, upstream.config()))
	g := grants(t, all, 1)[0]
	var turn, served atomic.Int64
	b := newBalancer(t, all, func() int { served.Add(1); return int(turn.Add(1) % 2) })
	session := b.connect(t, g, "2026-07-28")
	if v := session.InitializeResult().ProtocolVersion; v != "2026-07-28" {
		t.Fatalf("the client speaks %s", v)
	}
	const calls = 20
	for range calls {
		if err := look(t.Context(), session); err != nil {
			t.Error(err)
		}
	}
	tools, err := session.ListTools(t.Context(), nil)
	if err != nil || len(tools.Tools) != 2 {
		t.Errorf("listed %v, %v", tools, err)
	}
	if n := upstream.looked.Load(); n != calls {
		t.Errorf("%d calls arrived, want %d", n, calls)
	}
	for i, r := range all {
		mine := 0
		for _, record := range r.All(t) {
			if record.Frame.Name == "look" && record.Effect == "allow" {
				mine++
			}
		}
		if mine == 0 || mine == calls {
			t.Errorf("replica %d decided %d of %d calls", i, mine, calls)
		}
	}
}

// A session of the versions before is one proxy's. Another one says so with the
// status by which clients know that they have to begin anew.
func TestALegacySessionEndsOnAnotherReplica(t *testing.T) {
	upstream := newUpstream(t)
	all := started(t, prepareServing(t, 2, databases.Postgres(t, "-c", "fsync=off").Database(t), nil, upstream.config()))
	g := grants(t, all, 1)[0]
	var at atomic.Int64
	b := newBalancer(t, all, func() int { return int(at.Load()) })
	const version = "2025-11-25"
	session := b.connect(t, g, version)
	if v := session.InitializeResult().ProtocolVersion; v != version || session.ID() == "" {
		t.Fatalf("the client speaks %s in session %q", v, session.ID())
	}
	if err := look(t.Context(), session); err != nil {
		t.Fatal(err)
	}

	at.Store(1)
	before, missing := upstream.looked.Load(), b.statuses[http.StatusNotFound].Load()
	err := look(t.Context(), session)
	t.Logf("the client on another replica: %v", err)
	if err == nil {
		t.Error("a session went on behind a proxy that does not know it")
	}
	if !errors.Is(err, mcp.ErrSessionMissing) {
		t.Error("the client does not learn that its session is gone")
	}
	if n := b.statuses[http.StatusNotFound].Load() - missing; n == 0 {
		t.Error("nobody answered 404")
	}
	if upstream.looked.Load() != before {
		t.Error("the call arrived all the same")
	}
	again := b.connect(t, g, version)
	if err := look(t.Context(), again); err != nil {
		t.Errorf("begun anew: %v", err)
	}
	at.Store(0)
	if err := look(t.Context(), again); err == nil || strings.Contains(err.Error(), "seen") {
		t.Error("the new session is known to the other replica")
	}
}
