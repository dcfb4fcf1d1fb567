package replicas

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
	"github.com/mcpermit/mcpermit/test/gateway"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// replica is a decision point with a state directory of its own.
type replica struct {
	*gateway.Gateway
	decisions v1.DecisionServiceClient
	grants    v1.GrantServiceClient // as the command line has it
}

// prepare makes replicas over the databases, which have to be started.
func prepare(t *testing.T, n int, state any, quota map[string]any) []replica {
	t.Helper()
	return prepareServing(t, n, state, quota, map[string]any{"url": "http://127.0.0.1:9/mcp"})
}

// prepareServing makes replicas in front of an upstream server.
func prepareServing(t *testing.T, n int, state any, quota, server map[string]any) []replica {
	t.Helper()
	var out []replica
	for range n {
		g := gateway.Prepare(t, gateway.Config{
			Policy:  "policy",
			Servers: map[string]any{"up": server},
			Extra: map[string]any{
				"state": state, "quota": quota,
				"pdp": map[string]any{"deadline": deadline.String()},
				// What the trail's disk takes is none of what is measured.
				"audit": map[string]any{"fsync": "never"}, "log": map[string]any{"level": "error"},
			},
		})
		out = append(out, replica{
			Gateway:   g,
			decisions: v1.NewDecisionServiceClient(connection(t, g.PDP)),
			grants:    v1.NewGrantServiceClient(connection(t, "unix://"+filepath.Join(g.StateDir, "admin.sock"))),
		})
	}
	return out
}

// connection goes back to a replica soon after that is back.
func connection(t *testing.T, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{
		Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond}, MinConnectTimeout: time.Second,
	}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// started starts all of them at the same moment.
func started(t *testing.T, all []replica) []replica {
	t.Helper()
	together(len(all), func(i int) { all[i].Up(t) })
	if t.Failed() {
		t.FailNow()
	}
	return all
}

const (
	// deadline is how long an enforcement point waits for a decision if nothing
	// else is said.
	deadline = 250 * time.Millisecond
	// enough is for what has to come, on a machine that does a lot besides.
	enough = 20 * time.Second
)

// decide puts a call to the replica, as an enforcement point does.
func (r replica) decide(ctx context.Context, patience time.Duration, token, tool, arguments string) (*v1.DecideResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return r.decisions.Decide(ctx, &v1.DecideRequest{
		Evidence: &v1.Evidence{BearerToken: token}, Server: "up",
		Kind: v1.FrameKind_FRAME_KIND_REQUEST, Method: "tools/call", Id: "1",
		Target: &v1.Target{Name: tool}, Arguments: []byte(arguments),
		Context: &v1.FrameContext{Transport: v1.Transport_TRANSPORT_HTTP, Direction: v1.Direction_DIRECTION_TO_SERVER},
	})
}

// call puts a call to the replica and returns what becomes of it.
func (r replica) call(t *testing.T, token, tool, arguments string) (v1.Effect, v1.ReasonCode) {
	t.Helper()
	res, err := r.decide(t.Context(), enough, token, tool, arguments)
	if err != nil {
		t.Fatal(err)
	}
	return res.GetEffect(), res.GetReasonCode()
}

// together runs f so many times at once.
func together(n int, f func(i int)) {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// eventually waits until f has nothing to say against it any more.
func eventually(t *testing.T, what string, within time.Duration, f func() error) {
	t.Helper()
	began := time.Now()
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Since(began) > within {
			t.Fatalf("%s: not within %s: %v", what, within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// allows says why the replica does not let the grant look.
func (r replica) allows(ctx context.Context, g *grant) error {
	res, err := r.decide(ctx, 5*time.Second, g.token, "look", `{}`)
	if err != nil {
		return err
	}
	if res.GetEffect() != allow {
		return fmt.Errorf("%s %s %s", res.GetEffect(), res.GetReasonCode(), res.GetReason())
	}
	return nil
}
