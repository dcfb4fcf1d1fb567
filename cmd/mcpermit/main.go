// Command mcpermit is the policy decision point for MCP with everything around
// it: `up` for one machine, `pdp` alone, and the command line for people.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"
)

// CLI is the command line.
type CLI struct {
	Globals

	Up          UpCmd          `cmd:"" help:"Run the decision point and the proxy on this machine."`
	PDP         PDPCmd         `cmd:"" name:"pdp" help:"Run the decision point alone, for enforcement points elsewhere."`
	Grants      GrantsCmd      `cmd:"" help:"Create, list and revoke grants."`
	Approvals   ApprovalsCmd   `cmd:"" help:"See and decide on the calls that wait for a person."`
	Console     ConsoleCmd     `cmd:"" help:"Sign in to the web pages."`
	Quotas      QuotasCmd      `cmd:"" help:"See and reset what is used of the quotas."`
	Audit       AuditCmd       `cmd:"" help:"Read and verify the audit trail."`
	Policy      PolicyCmd      `cmd:"" help:"Test, lint, build and explain policy."`
	Servers     ServersCmd     `cmd:"" help:"See and classify the servers' tools."`
	Credentials CredentialsCmd `cmd:"" help:"Set the secrets and renew the accounts that servers are sent."`
	Frames      FramesCmd      `cmd:"" help:"See how the strict reader judges frames."`
	Version     VersionCmd     `cmd:"" help:"Print the version."`
}

const description = `MCPermit decides which MCP tool calls of an agent go through.

Start with 'mcpermit up -c mcpermit.yaml', give a client a token with
'mcpermit grants create --subject me --server NAME', and put
http://LISTEN/mcp/NAME/ into the client's configuration.`

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

// run is main without the process: exit code 0 done, 1 refused or not found,
// 2 misuse.
func run(args []string, stdout, stderr io.Writer) int {
	cli := CLI{Globals: Globals{Stdout: stdout, Stderr: stderr}}
	code := -1
	parser, err := kong.New(&cli,
		kong.Name("mcpermit"), kong.Description(description), kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Writers(stdout, stderr), kong.Exit(func(c int) { code = c }))
	if err != nil {
		panic(err) // the struct above is malformed
	}
	ctx, err := parser.Parse(args)
	if code >= 0 {
		return code // --help
	}
	if err != nil {
		fmt.Fprintf(stderr, "mcpermit: %v; see --help\n", err)
		return 2
	}
	return exitCode(ctx.Run(&cli.Globals), stderr)
}

func exitCode(err error, stderr io.Writer) int {
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "mcpermit: %v\n", err)
	if coded := (*exitError)(nil); errors.As(err, &coded) {
		return coded.code
	}
	return 1
}
