// Command mcpgo is the test server of ../README.md on mark3labs/mcp-go.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strconv"

	"github.com/mark3labs/mcp-go/mcp"
	"github.com/mark3labs/mcp-go/server"
)

func main() {
	port := flag.Int("port", 0, "port on the loopback interface")
	flag.Parse()

	s := server.NewMCPServer("mcpgo", "1.0.0", server.WithToolCapabilities(true))
	s.AddTool(mcp.NewTool("add",
		mcp.WithDescription("Adds two numbers."),
		mcp.WithNumber("a", mcp.Required()),
		mcp.WithNumber("b", mcp.Required()),
	), add)
	s.AddTool(mcp.NewTool("wipe", mcp.WithDescription("Deletes everything.")), wipe)

	address := fmt.Sprintf("127.0.0.1:%d", *port)
	if err := server.NewStreamableHTTPServer(s).Start(address); err != nil {
		fmt.Fprintln(os.Stderr, "mcpgo:", err)
		os.Exit(1)
	}
}

func add(_ context.Context, request mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	called(request)
	a, err := request.RequireFloat("a")
	if err != nil {
		return mcp.NewToolResultError(err.Error()), nil
	}
	b, err := request.RequireFloat("b")
	if err != nil {
		return mcp.NewToolResultError(err.Error()), nil
	}
	return mcp.NewToolResultText(strconv.FormatFloat(a+b, 'g', -1, 64)), nil
}

func wipe(_ context.Context, request mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	called(request)
	return mcp.NewToolResultText("wiped"), nil
}

func called(request mcp.CallToolRequest) {
	arguments, err := json.Marshal(request.Params.Arguments)
	if err != nil {
		arguments = []byte(err.Error())
	}
	fmt.Fprintf(os.Stderr, "called %s %s\n", request.Params.Name, arguments)
}
