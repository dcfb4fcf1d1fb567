package quotas

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
	"github.com/mcpermit/mcpermit/test/databases"
	"github.com/mcpermit/mcpermit/test/gateway"
)

// replicas are decision points of their own that count in one PostgreSQL and one
// Redis.
type replicas struct {
	points []*gateway.Gateway
	tokens []string
	redis  *databases.RedisServer
}

// start starts n replicas that share their counters.
func start(t testing.TB, n int) *replicas {
	t.Helper()
	redis := databases.Redis(t)
	r := startWith(t, n, map[string]any{"counts": redis.URL(), "amounts": databases.Postgres(t).Database(t)})
	r.redis = redis
	return r
}

// startWith starts n replicas that count where quota says.
func startWith(t testing.TB, n int, quota map[string]any) *replicas {
	t.Helper()
	r := &replicas{}
	for range n {
		extra := map[string]any{"audit": map[string]any{"fsync": "never"}, "log": map[string]any{"level": "error"}}
		if quota != nil {
			extra["quota"] = quota
		}
		g := gateway.Prepare(t, gateway.Config{
			Policy:  "policy",
			Servers: map[string]any{"up": map[string]any{"url": "http://127.0.0.1:9/mcp"}},
			Extra:   extra,
		})
		g.PDPUp(t)
		_, token := g.Grant(t, "ada", "up")
		r.points, r.tokens = append(r.points, g), append(r.tokens, token)
	}
	return r
}

// caller has a connection of its own to each replica.
type caller struct {
	r     *replicas
	conns []v1.DecisionServiceClient
}

func (r *replicas) caller(t testing.TB) *caller {
	t.Helper()
	c := &caller{r: r}
	for _, g := range r.points {
		conn, err := grpc.NewClient(g.PDP, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 20 * time.Millisecond, Multiplier: 1.5, MaxDelay: 200 * time.Millisecond},
		}))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		c.conns = append(c.conns, v1.NewDecisionServiceClient(conn))
	}
	return c
}

// ask puts one call to a replica. An error means that nobody knows what has
// become of it.
func (c *caller) ask(ctx context.Context, replica int, tool, arguments string) (*v1.DecideResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	return c.conns[replica].Decide(ctx, &v1.DecideRequest{
		Evidence: &v1.Evidence{BearerToken: c.r.tokens[replica]}, Server: "up",
		Kind: v1.FrameKind_FRAME_KIND_REQUEST, Method: "tools/call", Id: "1",
		Target: &v1.Target{Name: tool}, Arguments: []byte(arguments),
		Context: &v1.FrameContext{Transport: v1.Transport_TRANSPORT_HTTP, Direction: v1.Direction_DIRECTION_TO_SERVER},
	})
}

// complete tells any replica what became of a call, and whether one has heard it.
func (c *caller) complete(ctx context.Context, id string, forwarded bool) bool {
	for i := range 30 {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		_, err := c.conns[i%len(c.conns)].Complete(attempt, &v1.CompleteRequest{DecisionId: id, Outcome: &v1.Outcome{Forwarded: forwarded}})
		cancel()
		if err == nil {
			return true
		}
		time.Sleep(20 * time.Millisecond)
	}
	return false
}

// cents are amounts without a fraction: the tests add up what the program must
// count in decimals.
func decimal(cents int64) string { return fmt.Sprintf("%d.%02d", cents/100, cents%100) }

// epoch is what one counter was used for, as its callers know it.
type epoch struct {
	mu      sync.Mutex
	granted int64 // cents that passed, and were not given back
	unknown int64 // cents of calls that nobody knows the end of
	calls   int   // that passed of those that are counted
}
