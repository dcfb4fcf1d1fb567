package pep

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// service is a PDP behind gRPC that allows everything.
type service struct {
	v1.UnimplementedDecisionServiceServer
}

func (service) Decide(_ context.Context, r *v1.DecideRequest) (*v1.DecideResponse, error) {
	return &v1.DecideResponse{DecisionId: r.GetMethod(), Effect: v1.Effect_EFFECT_ALLOW}, nil
}

func (service) DecideList(_ context.Context, r *v1.DecideListRequest) (*v1.DecideListResponse, error) {
	return &v1.DecideListResponse{Items: make([]*v1.ItemDecision, len(r.GetItems()))}, nil
}

func (service) Complete(context.Context, *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	return &v1.CompleteResponse{}, nil
}

func (service) AwaitApproval(_ context.Context, r *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	return &v1.AwaitApprovalResponse{Pending: string(r.GetRequestState()) == "pending"}, nil
}

func serve(t *testing.T, network, addr string) (actual string, stop func()) {
	t.Helper()
	l, err := net.Listen(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(MaxMessage))
	v1.RegisterDecisionServiceServer(s, service{})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Serve(l)
	}()
	return l.Addr().String(), func() { s.Stop(); <-done }
}

func TestR1_ThePDPIsFoundAgainWithinASecond(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "pdp.sock")
	c, err := Dial("unix://"+socket, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e := NewEnforcer(c, EnforcerOptions{Logger: quiet()})
	effect := func() v1.Effect {
		return e.Decide(t.Context(), &v1.DecideRequest{Method: "ping", Context: toServer}, SetHeaders).GetEffect()
	}
	if got := effect(); got != v1.Effect_EFFECT_DENY {
		t.Errorf("without a PDP: %v", got)
	}
	for round := range 3 {
		_, stop := serve(t, "unix", socket)
		up := time.Now()
		for effect() != v1.Effect_EFFECT_ALLOW {
			if time.Since(up) > 5*time.Second {
				t.Fatalf("round %d: not found again within 5 s", round)
			}
		}
		stop()
		if got := effect(); got != v1.Effect_EFFECT_DENY {
			t.Errorf("round %d, PDP gone: %v", round, got)
		}
	}
	if err := e.Close(t.Context()); err != nil {
		t.Error(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestLargeFramesReachThePDP(t *testing.T) {
	addr, stop := serve(t, "tcp", "127.0.0.1:0")
	defer stop()
	c, err := Dial(addr, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	res, err := c.Decide(t.Context(), &v1.DecideRequest{Method: "tools/call", Arguments: make([]byte, 6<<20)})
	if err != nil || res.GetDecisionId() != "tools/call" {
		t.Errorf("%v, %v", res, err)
	}
	list, err := c.DecideList(t.Context(), &v1.DecideListRequest{Items: []*v1.Target{{Definition: make([]byte, 6<<20)}}})
	if err != nil || len(list.GetItems()) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if _, err := c.Complete(t.Context(), &v1.CompleteRequest{}); err != nil {
		t.Error(err)
	}
	for state, pending := range map[string]bool{"pending": true, "decided": false} {
		res, err := c.AwaitApproval(t.Context(), &v1.AwaitApprovalRequest{RequestState: []byte(state)})
		if err != nil || res.GetPending() != pending {
			t.Errorf("%s: %v, %v", state, res, err)
		}
	}
}

func TestDialWantsTLSOnTheNetwork(t *testing.T) {
	for addr, want := range map[string]string{
		"pdp.example:7000":      "set a TLS certificate",
		"10.0.0.1:7000":         "set a TLS certificate",
		"0.0.0.0:7000":          "set a TLS certificate",
		"localhost.evil.io:700": "set a TLS certificate",
		"pdp":                   "neither unix:///path nor host:port",
		"":                      "neither unix:///path nor host:port",
	} {
		if c, err := Dial(addr, DialOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, %v", addr, c, err)
		}
	}
	for _, addr := range []string{"127.0.0.1:1", "[::1]:1", "localhost:1", "unix:///nowhere"} {
		c, err := Dial(addr, DialOptions{})
		if err != nil {
			t.Errorf("%q: %v", addr, err)
			continue
		}
		c.Close()
	}
}
