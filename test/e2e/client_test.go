package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/test/gateway"
)

const (
	legacyVersion = "2025-11-25"
	modernVersion = "2026-07-28"
)

// target is what a client connects to: a URL or a command.
type target struct {
	// Gateway and Server are for the clients that need MCPermit's own PEP.
	Gateway *gateway.Gateway `json:"-"`
	Server  string           `json:"-"`
	Token   string           `json:"-"`

	URL     string            `json:"url,omitempty"`
	Headers map[string]string `json:"headers,omitempty"`
	Command []string          `json:"command,omitempty"`
	Elicit  string            `json:"elicit,omitempty"` // how the client answers to links; it takes none without
	Env     map[string]string `json:"env,omitempty"`
}

// operation is one thing that a client is told to do.
type operation struct {
	Op        string         `json:"op"`
	Name      string         `json:"name,omitempty"`
	Arguments map[string]any `json:"arguments,omitempty"`
}

// outcome is what a client says became of an operation; see clients/README.md.
type outcome struct {
	Op      string   `json:"op"`
	Name    string   `json:"name"`
	Version string   `json:"version"`
	Tools   []string `json:"tools"`
	Text    string   `json:"text"`
	IsError bool     `json:"is_error"`
	Links   []string `json:"links"`
	Error   *struct {
		Code    any    `json:"code"` // a number, or the Inspector's own word
		Message string `json:"message"`
	} `json:"error"`
}

// client is one real client in one of its modes.
type client struct {
	name string
	// eras that it can open a conversation in, as protocol versions.
	eras []string
	// http and stdio: the transports over which it can meet a server directly.
	http, stdio bool
	// mirrorsNothing: it does not send Mcp-Param-* headers, in no version.
	mirrorsNothing bool
	// hidesUnlisted: it does not send a call to a tool that it was not listed,
	// and answers tool_not_found by itself.
	hidesUnlisted bool
	// connectsEachTime: it starts and connects anew for each operation, so it
	// makes only the first call of a kind.
	connectsEachTime bool
	// perform does the operations; the first outcome is that of connecting.
	perform func(ctx context.Context, t target, operations []operation) ([]outcome, error)
}

// clients are all of them; they need what TestMain made. pepProgram is the path
// of mcpermit-pep, which two of them have between themselves and the server.
func clients(pepProgram string) []client {
	pep := pepBridge(pepProgram)
	both, legacy, modern := []string{legacyVersion, modernVersion}, []string{legacyVersion}, []string{modernVersion}
	python := []string{installed.Python, "clients/python_client.py"}
	typescriptV1 := []string{installed.Node, scripts["typescript_v1_client.mjs"]}
	typescriptV2 := []string{installed.Node, scripts["typescript_v2_client.mjs"]}
	golang := []string{program("gosdk")}
	return []client{
		{name: "python", eras: both, http: true, stdio: true, perform: scripted(python, "auto")},
		{name: "python-legacy", eras: legacy, http: true, stdio: true, perform: scripted(python, "legacy")},
		{name: "typescript-v1", eras: legacy, http: true, stdio: true, perform: scripted(typescriptV1, "legacy")},
		{name: "typescript-v2", eras: both, http: true, stdio: true, perform: scripted(typescriptV2, "auto")},
		{name: "typescript-v2-legacy", eras: legacy, http: true, stdio: true, perform: scripted(typescriptV2, "legacy")},
		{name: "go", eras: both, http: true, stdio: true, perform: scripted(golang, "auto")},
		{name: "go-legacy", eras: legacy, http: true, stdio: true, perform: scripted(golang, "legacy")},
		{name: "inspector", eras: legacy, http: true, stdio: true, hidesUnlisted: true, connectsEachTime: true, perform: inspector("legacy")},
		{name: "inspector-modern", eras: modern, http: true, stdio: true, hidesUnlisted: true, connectsEachTime: true, perform: inspector("modern")},
		{name: "mcp-remote", eras: both, http: true, mirrorsNothing: true, perform: bridged(remoteBridge, scripted(golang, "auto"))},
		{name: "mcp-remote-legacy", eras: legacy, http: true, perform: bridged(remoteBridge, scripted(typescriptV1, "legacy"))},
		{name: "pep-stdio", eras: both, perform: bridged(pep, scripted(golang, "auto"))},
		{name: "pep-stdio-legacy", eras: legacy, perform: bridged(pep, scripted(typescriptV1, "legacy"))},
	}
}

// scripted drives one of the programs in clients/.
func scripted(command []string, mode string) func(context.Context, target, []operation) ([]outcome, error) {
	return func(ctx context.Context, t target, operations []operation) ([]outcome, error) {
		job, err := json.Marshal(struct {
			target
			Mode       string      `json:"mode"`
			Operations []operation `json:"operations"`
		}{t, mode, operations})
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
		defer cancel()
		var stdout, stderr bytes.Buffer
		cmd := exec.CommandContext(ctx, command[0], command[1:]...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(job), &stdout, &stderr
		cmd.WaitDelay = 5 * time.Second
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("%w\nstdout: %s\nstderr: %s", err, stdout.String(), stderr.String())
		}
		var outcomes []outcome
		lines := bufio.NewScanner(&stdout)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			var o outcome
			if err := json.Unmarshal(lines.Bytes(), &o); err != nil {
				return nil, fmt.Errorf("the client wrote %q: %w", lines.Text(), err)
			}
			outcomes = append(outcomes, o)
		}
		if len(outcomes) == 0 || outcomes[0].Error == nil && len(outcomes) != 1+len(operations) {
			return nil, fmt.Errorf("the client reported %d outcomes of %d operations; stderr: %s", len(outcomes), len(operations), stderr.String())
		}
		return outcomes, lines.Err()
	}
}

// inspector drives the command line of the MCP Inspector, which connects anew
// for each operation. Its connect outcome is that of the first operation.
func inspector(era string) func(context.Context, target, []operation) ([]outcome, error) {
	version := map[string]string{"legacy": legacyVersion, "modern": modernVersion}[era]
	return func(ctx context.Context, t target, operations []operation) ([]outcome, error) {
		outcomes := []outcome{{Op: "connect", Version: version}}
		for _, op := range operations {
			o, err := inspect(ctx, era, t, op)
			if err != nil {
				return nil, err
			}
			if op.Op == "list" && o.Error != nil { // it could not even list
				return []outcome{{Op: "connect", Error: o.Error}}, nil
			}
			outcomes = append(outcomes, o)
		}
		return outcomes, nil
	}
}

func inspect(ctx context.Context, era string, t target, op operation) (outcome, error) {
	home, err := os.MkdirTemp("", "mcpermit-inspector-")
	if err != nil {
		return outcome{}, err
	}
	defer os.RemoveAll(home)
	args := []string{
		installed.NodeModule("@modelcontextprotocol/inspector", "clients/launcher/build/index.js"),
		"--cli", "--protocol-era", era, "--quiet", "--format", "json", "--stored-auth-only", "--method",
	}
	if op.Op == "list" {
		args = append(args, "tools/list")
	} else {
		arguments, err := json.Marshal(op.Arguments)
		if err != nil {
			return outcome{}, err
		}
		args = append(args, "tools/call", "--tool-name", op.Name, "--tool-args-json", string(arguments))
	}
	if t.URL != "" {
		args = append(args, "--transport", "http", "--server-url", t.URL)
		for name, value := range t.Headers {
			args = append(args, "--header", name+": "+value)
		}
	} else {
		args = append(args, "--transport", "stdio", "--")
		args = append(args, t.Command...)
	}
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
	defer cancel()
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, installed.Node, args...)
	cmd.Env = append(os.Environ(), "HOME="+home)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 5 * time.Second
	err = cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return outcome{}, err
	}
	return inspected(op, stdout.Bytes(), stderr.String())
}

// inspected reads what the Inspector wrote: a result on standard output, or
// only an error envelope as the last line of standard error.
func inspected(op operation, stdout []byte, stderr string) (outcome, error) {
	o := outcome{Op: op.Op, Name: op.Name}
	if len(bytes.TrimSpace(stdout)) == 0 {
		lines := strings.Split(strings.TrimSpace(stderr), "\n")
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &o); err != nil || o.Error == nil {
			return o, fmt.Errorf("the Inspector wrote neither a result nor an error: %s", stderr)
		}
		return o, nil
	}
	var wrote struct {
		Result struct {
			Tools   []struct{ Name string }
			Content []struct{ Type, Text string }
			IsError bool
		}
	}
	if err := json.Unmarshal(stdout, &wrote); err != nil {
		return o, fmt.Errorf("the Inspector wrote %q: %w", stdout, err)
	}
	for _, tool := range wrote.Result.Tools {
		o.Tools = append(o.Tools, tool.Name)
	}
	for _, block := range wrote.Result.Content {
		if block.Type == "text" {
			o.Text += block.Text
		}
	}
	o.IsError = wrote.Result.IsError
	return o, nil
}

// bridged has a stdio client talk to a bridge that talks to the URL.
func bridged(
	bridge func(t target, dir string) target,
	perform func(context.Context, target, []operation) ([]outcome, error),
) func(context.Context, target, []operation) ([]outcome, error) {
	return func(ctx context.Context, t target, operations []operation) ([]outcome, error) {
		dir, err := os.MkdirTemp("", "mcpermit-bridge-")
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		behind := bridge(t, dir)
		behind.Elicit = t.Elicit
		return perform(ctx, behind, operations)
	}
}

// remoteBridge is mcp-remote, with its own directory for OAuth leftovers.
func remoteBridge(t target, dir string) target {
	command := []string{installed.Node, installed.NodeModule("mcp-remote", "dist/proxy.js"), t.URL, "--transport", "http-only"}
	for name, value := range t.Headers {
		command = append(command, "--header", name+": "+value)
	}
	return target{Command: command, Env: map[string]string{"MCP_REMOTE_CONFIG_DIR": dir}}
}

// pepBridge is `mcpermit-pep stdio`, for clients that only know a command.
func pepBridge(program string) func(target, string) target {
	return func(t target, _ string) target {
		return target{
			Command: []string{program, "stdio", "-c", t.Gateway.ConfigFile, "--pdp", t.Gateway.PDP, "--server", t.Server},
			Env:     map[string]string{"MCPERMIT_TOKEN": t.Token},
		}
	}
}

// calls are those of a kind that the client makes.
func (c client) calls(all []expectation) []expectation {
	if c.connectsEachTime && len(all) > 1 {
		return all[:1]
	}
	return all
}
