// Command gosdk drives the Go MCP SDK as ../README.md says.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type job struct {
	URL        string
	Headers    map[string]string
	Command    []string
	Env        map[string]string
	Mode       string
	Elicit     string
	Operations []operation
}

type operation struct {
	Op, Name  string
	Arguments map[string]any
}

type line struct {
	Op      string   `json:"op"`
	Name    string   `json:"name,omitempty"`
	Version string   `json:"version,omitempty"`
	Tools   []string `json:"tools,omitempty"`
	Text    string   `json:"text,omitempty"`
	IsError bool     `json:"is_error,omitempty"`
	Links   []string `json:"links,omitempty"`
	Error   *failure `json:"error,omitempty"`
}

type failure struct {
	Code    int64  `json:"code,omitempty"`
	Message string `json:"message"`
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "gosdk:", err)
		os.Exit(1)
	}
}

func run() error {
	var j job
	if err := json.NewDecoder(os.Stdin).Decode(&j); err != nil {
		return fmt.Errorf("read job: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out := json.NewEncoder(os.Stdout)

	var options *mcp.ClientSessionOptions
	if j.Mode == "legacy" {
		options = &mcp.ClientSessionOptions{ProtocolVersion: "2025-11-25"}
	}
	links := new(opened)
	client := mcp.NewClient(&mcp.Implementation{Name: "gosdk", Version: "1.0.0"}, j.opening(links))
	session, err := client.Connect(ctx, j.transport(), options)
	if err != nil {
		return out.Encode(line{Op: "connect", Error: failureOf(err)})
	}
	defer session.Close()
	if err := out.Encode(line{Op: "connect", Version: session.InitializeResult().ProtocolVersion}); err != nil {
		return err
	}
	for _, op := range j.Operations {
		done := op.perform(ctx, session)
		done.Links = links.take()
		if err := out.Encode(done); err != nil {
			return err
		}
	}
	return nil
}

// opened are the links that the client was asked to open.
type opened struct {
	mu    sync.Mutex
	links []string
}

func (o *opened) add(link string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.links = append(o.links, link)
}

func (o *opened) take() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	links := o.links
	o.links = nil
	return links
}

// opening is how the client answers to links, nil where the job says nothing of
// them.
func (j job) opening(links *opened) *mcp.ClientOptions {
	if j.Elicit == "" {
		return nil
	}
	return &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{Elicitation: &mcp.ElicitationCapabilities{URL: &mcp.URLElicitationCapabilities{}}},
		ElicitationHandler: func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
			links.add(r.Params.URL)
			return &mcp.ElicitResult{Action: j.Elicit}, nil
		},
	}
}

func (j job) transport() mcp.Transport {
	if j.URL != "" {
		return &mcp.StreamableClientTransport{Endpoint: j.URL, HTTPClient: &http.Client{Transport: withHeaders(j.Headers)}}
	}
	cmd := exec.Command(j.Command[0], j.Command[1:]...)
	cmd.Stderr = os.Stderr
	cmd.Env = os.Environ()
	for name, value := range j.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return &mcp.CommandTransport{Command: cmd}
}

func (op operation) perform(ctx context.Context, session *mcp.ClientSession) line {
	done := line{Op: op.Op, Name: op.Name}
	if op.Op == "list" {
		for tool, err := range session.Tools(ctx, nil) {
			if err != nil {
				done.Error = failureOf(err)
				return done
			}
			done.Tools = append(done.Tools, tool.Name)
		}
		return done
	}
	// A nil map would be sent as null, which is no object.
	arguments := op.Arguments
	if arguments == nil {
		arguments = map[string]any{}
	}
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: op.Name, Arguments: arguments})
	if err != nil {
		done.Error = failureOf(err)
		return done
	}
	var text strings.Builder
	for _, block := range result.Content {
		if block, ok := block.(*mcp.TextContent); ok {
			text.WriteString(block.Text)
		}
	}
	done.Text, done.IsError = text.String(), result.IsError
	return done
}

func failureOf(err error) *failure {
	var wire *jsonrpc.Error
	if errors.As(err, &wire) {
		return &failure{Code: wire.Code, Message: wire.Message}
	}
	return &failure{Message: err.Error()}
}

// withHeaders adds the headers to every request.
type withHeaders map[string]string

func (h withHeaders) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	for name, value := range h {
		request.Header.Set(name, value)
	}
	return http.DefaultTransport.RoundTrip(request)
}
