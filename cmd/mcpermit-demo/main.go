// Command mcpermit-demo is a small MCP server with the tools of a payment
// provider and made-up data. It is the upstream of `make run`: it logs every
// call that arrives, so that one can see which do not.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:9000", "host:port to serve MCP on, at /mcp")
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("demo: ")

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, *listen); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, listen string) error {
	payments := newPayments()
	mux := http.NewServeMux()
	mux.Handle("/mcp", logged(mcp.NewStreamableHTTPHandler(
		func(*http.Request) *mcp.Server { return payments },
		&mcp.StreamableHTTPOptions{Stateless: true, JSONResponse: true},
	)))
	srv := &http.Server{Addr: listen, Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() {
		<-ctx.Done()
		_ = srv.Close()
	}()
	log.Printf("serving http://%s/mcp", listen)
	if err := srv.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// logged prints the body of every POST as it arrived.
func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 4<<20))
		if err != nil {
			http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
		if len(body) > 0 {
			log.Printf("received %s", body)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		next.ServeHTTP(w, r)
	})
}

type (
	charge struct {
		ID       string `json:"id"`
		Customer string `json:"customer"`
		Amount   int64  `json:"amount" jsonschema:"in cents"`
	}
	refundArguments struct {
		ChargeID string `json:"charge_id"`
		Amount   int64  `json:"amount" jsonschema:"in cents"`
	}
	customerArguments struct {
		CustomerID string `json:"customer_id"`
	}
	none struct{}
)

var charges = []charge{
	{"ch_103", "cus_1", 12900},
	{"ch_104", "cus_2", 4200},
	{"ch_105", "cus_1", 500000},
}

func newPayments() *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: "payments-demo", Version: "1"}, nil)
	mcp.AddTool(s, &mcp.Tool{Name: "list_charges", Description: "List the latest charges."},
		func(context.Context, *mcp.CallToolRequest, none) (*mcp.CallToolResult, any, error) {
			return nil, map[string]any{"charges": charges}, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: "get_balance", Description: "Say what is on the account."},
		func(context.Context, *mcp.CallToolRequest, none) (*mcp.CallToolResult, any, error) {
			return text("Balance: 1,284.00"), nil, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: "create_refund", Description: "Give money of a charge back to its customer."},
		func(_ context.Context, _ *mcp.CallToolRequest, in refundArguments) (*mcp.CallToolResult, any, error) {
			return text(fmt.Sprintf("Refunded %d.%02d of %s", in.Amount/100, in.Amount%100, in.ChargeID)), nil, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: "delete_customer", Description: "Delete a customer and everything about them."},
		func(_ context.Context, _ *mcp.CallToolRequest, in customerArguments) (*mcp.CallToolResult, any, error) {
			return text("Deleted " + in.CustomerID), nil, nil
		})
	return s
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}
