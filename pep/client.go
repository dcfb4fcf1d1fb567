package pep

import (
	"context"
	"crypto/tls"
	"errors"

	"google.golang.org/grpc"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// DialOptions are how a PEP reaches its PDP.
type DialOptions struct {
	// TLS authenticates both sides. It is required for every address that is
	// neither a unix socket nor a loopback address.
	TLS *tls.Config
}

// Client is a [Decider] that asks a PDP over gRPC.
type Client struct {
	conn *grpc.ClientConn
	svc  v1.DecisionServiceClient
}

// Dial returns a client for the PDP at addr, "unix:///path" or "host:port". It
// does not wait for the connection.
func Dial(addr string, o DialOptions) (*Client, error) {
	return nil, errors.New("not written yet")
}

// Close closes the connection.
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
