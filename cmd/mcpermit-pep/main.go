// Command mcpermit-pep is the thin enforcement point: it reads MCP frames, asks
// a decision point elsewhere, and holds no policy, grant or secret of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// CLI is the command line.
type CLI struct {
	Proxy ProxyCmd `cmd:"" help:"Serve MCP clients over HTTP, in front of the servers of the configuration."`
	Stdio StdioCmd `cmd:"" help:"Serve one MCP client over standard input and output."`
	Envoy EnvoyCmd `cmd:"" help:"Let an Envoy enforce: see envoy config."`
}

const description = `MCPermit's enforcement points. They forward an MCP frame only after
'mcpermit pdp' (or 'mcpermit up' with pdp.address set) has allowed it.`

func main() {
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// run is main without the process: exit code 0 done, 1 failed, 2 misuse.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	code := -1
	var cli CLI
	parser, err := kong.New(&cli,
		kong.Name("mcpermit-pep"), kong.Description(description), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(stdout, stderr), kong.Exit(func(c int) { code = c }))
	if err != nil {
		panic(err) // the struct above is malformed
	}
	kctx, err := parser.Parse(args)
	if code >= 0 {
		return code // --help
	}
	if err != nil {
		fmt.Fprintf(stderr, "mcpermit-pep: %v; see --help\n", err)
		return 2
	}
	err = kctx.Run(&process{ctx: ctx, stdin: stdin, stdout: stdout, stderr: stderr})
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "mcpermit-pep: %v\n", err)
	if errors.As(err, &misuse{}) {
		return 2
	}
	return 1
}
