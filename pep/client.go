package pep

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// MaxMessage is the largest gRPC message, in bytes, that a PEP sends to its
// PDP. A PDP has to accept as much: a frame of 1 MiB, or a listing's
// definitions, travel in one.
const MaxMessage = 8 << 20

// KeepalivePeriod is how often an idle TCP connection to the PDP is probed, so
// that a dead one is noticed before a decision needs it. A PDP must permit it
// without streams (grpc keepalive.EnforcementPolicy).
const KeepalivePeriod = 20 * time.Second

// DialOptions are how a PEP reaches its PDP.
type DialOptions struct {
	// TLS authenticates both sides. It is required for every address that is
	// neither a unix socket nor a loopback address, since requests carry the
	// clients' tokens.
	TLS *tls.Config
}

// Client is a [Decider] that asks a PDP over gRPC. It reconnects on its own,
// at the latest a second after the PDP is back.
type Client struct {
	conn *grpc.ClientConn
	svc  v1.DecisionServiceClient
}

// Dial returns a client for the PDP at addr, "unix:///path" or "host:port". It
// begins to connect and does not wait for it: until then decisions fail, and
// frames are refused.
func Dial(addr string, o DialOptions) (*Client, error) {
	unix := strings.HasPrefix(addr, "unix:")
	creds, err := transportCredentials(addr, unix, o.TLS)
	if err != nil {
		return nil, err
	}
	opts := []grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 800 * time.Millisecond},
			MinConnectTimeout: time.Second,
		}),
		// Decide records: asking twice would record twice. What gRPC knows was
		// never sent it still sends again.
		grpc.WithDisableRetry(),
		grpc.WithDisableServiceConfig(),
		grpc.WithIdleTimeout(0),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(MaxMessage), grpc.MaxCallRecvMsgSize(MaxMessage)),
	}
	if !unix {
		opts = append(opts, grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: KeepalivePeriod, Timeout: 2 * time.Second, PermitWithoutStream: true,
		}))
	}
	conn, err := grpc.NewClient(addr, opts...)
	if err != nil {
		return nil, fmt.Errorf("the PDP's address %q: %w", addr, err)
	}
	conn.Connect()
	return &Client{conn: conn, svc: v1.NewDecisionServiceClient(conn)}, nil
}

func transportCredentials(addr string, unix bool, config *tls.Config) (credentials.TransportCredentials, error) {
	if config != nil {
		return credentials.NewTLS(config), nil
	}
	if unix {
		return insecure.NewCredentials(), nil
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("the PDP's address %q is neither unix:///path nor host:port", addr)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("the PDP's address %q is on the network: set a TLS certificate, key and CA for it", addr)
	}
	return insecure.NewCredentials(), nil
}

// Close closes the connection; calls under way fail.
func (c *Client) Close() error { return c.conn.Close() }

// Decide implements [Decider].
func (c *Client) Decide(ctx context.Context, r *v1.DecideRequest) (*v1.DecideResponse, error) {
	return c.svc.Decide(ctx, r)
}

// DecideList implements [Decider].
func (c *Client) DecideList(ctx context.Context, r *v1.DecideListRequest) (*v1.DecideListResponse, error) {
	return c.svc.DecideList(ctx, r)
}

// Complete implements [Decider].
func (c *Client) Complete(ctx context.Context, r *v1.CompleteRequest) (*v1.CompleteResponse, error) {
	return c.svc.Complete(ctx, r)
}

// AwaitApproval implements [Decider].
func (c *Client) AwaitApproval(ctx context.Context, r *v1.AwaitApprovalRequest) (*v1.AwaitApprovalResponse, error) {
	return c.svc.AwaitApproval(ctx, r)
}

// RenewCredential implements [Decider].
func (c *Client) RenewCredential(ctx context.Context, r *v1.RenewCredentialRequest) (*v1.RenewCredentialResponse, error) {
	return c.svc.RenewCredential(ctx, r)
}

// DelegateGrant implements [Decider].
func (c *Client) DelegateGrant(ctx context.Context, r *v1.DelegateGrantRequest) (*v1.DelegateGrantResponse, error) {
	return c.svc.DelegateGrant(ctx, r)
}

// Ready says why no decision could be had now, or nil.
func (c *Client) Ready() error {
	if state := c.conn.GetState(); state != connectivity.Ready {
		return fmt.Errorf("the PDP at %s is not connected (%s)", c.conn.Target(), strings.ToLower(state.String()))
	}
	return nil
}
