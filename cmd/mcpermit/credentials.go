package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/term"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// CredentialsCmd administers what servers are sent in place of anything of a
// client's: secrets and accounts. Values go in and never come out.
type CredentialsCmd struct {
	Set    CredentialsSetCmd    `cmd:"" help:"Set a secret, to which ${secret:NAME} in the configuration refers."`
	List   CredentialsListCmd   `cmd:"" help:"List secrets and accounts, without their values."`
	Rotate CredentialsRotateCmd `cmd:"" help:"Renew the tokens of an account now."`
	Delete CredentialsDeleteCmd `cmd:"" help:"Delete a secret or an account."`
	Rekey  CredentialsRekeyCmd  `cmd:"" help:"Seal everything with a new key while calls go on, such as after a change of the master key."`
}

// CredentialsSetCmd is `mcpermit credentials set`.
type CredentialsSetCmd struct {
	Name     string   `arg:"" help:"Name of the secret."`
	Value    []string `arg:"" optional:"" hidden:""`
	Holder   string   `help:"Whose secret it is: the id of a subject, or of the owner of subjects. Default: all share it." placeholder:"ID"`
	FromFile string   `type:"path" xor:"from" help:"Take the value from a file." placeholder:"FILE"`
	FromEnv  string   `xor:"from" help:"Take the value from an environment variable." placeholder:"NAME"`
}

// Help says where the value comes from.
func (c *CredentialsSetCmd) Help() string {
	return "The value is read from standard input, or asked for on a terminal, or comes from a file or the environment; " +
		"as an argument others could read it. One line break at its end does not count."
}

// Run sets the secret.
func (c *CredentialsSetCmd) Run(g *Globals) error {
	if len(c.Value) > 0 { // shown nowhere: it is a secret
		return misuse("a value is no argument, where others can read it: give it on standard input, with --from-file or with --from-env")
	}
	value, err := c.read(g)
	if err != nil {
		return err
	}
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewCredentialServiceClient(conn).SetSecret(ctx, &v1.SetSecretRequest{Name: c.Name, Holder: c.Holder, Value: value})
		if err != nil {
			return err
		}
		v := viewCredential(res.GetCredential())
		return g.print(v, func() { g.line("Set  secret %s %s, generation %d", v.Name, holderText(v.Holder), v.Generation) })
	})
}

func (c *CredentialsSetCmd) read(g *Globals) ([]byte, error) {
	var value []byte
	var err error
	switch {
	case c.FromFile != "":
		value, err = os.ReadFile(c.FromFile)
	case c.FromEnv != "":
		text, set := os.LookupEnv(c.FromEnv)
		if !set {
			return nil, misuse("--from-env: environment variable %s is not set", c.FromEnv)
		}
		value = []byte(text)
	case term.IsTerminal(int(os.Stdin.Fd())):
		fmt.Fprintf(g.Stderr, "Value of %s (not shown): ", c.Name)
		value, err = term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(g.Stderr)
	default:
		value, err = io.ReadAll(io.LimitReader(os.Stdin, maxSecretInput))
	}
	if err != nil {
		return nil, misuse("read the value: %w", err)
	}
	text := strings.TrimSuffix(strings.TrimSuffix(string(value), "\n"), "\r")
	if text == "" {
		return nil, misuse("the value is empty: give it on standard input, with --from-file or with --from-env")
	}
	return []byte(text), nil
}

// maxSecretInput is more than a secret may have, so that the PDP says so.
const maxSecretInput = 1 << 20

// CredentialsListCmd is `mcpermit credentials list`.
type CredentialsListCmd struct{}

// Run lists what there is.
func (c *CredentialsListCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewCredentialServiceClient(conn).ListCredentials(ctx, &v1.ListCredentialsRequest{})
		if err != nil {
			return err
		}
		t := g.table("KIND", "NAME", "HOLDER", "GENERATION", "CHANGED", "EXPIRES")
		for _, credential := range res.GetCredentials() {
			v := viewCredential(credential)
			t.row(v, v.Kind, v.Name, v.holderText(), strconv.FormatInt(v.Generation, 10), v.UpdatedAt.Local().Format(time.DateTime), v.expiryText())
		}
		return t.flush()
	})
}

// CredentialsRotateCmd is `mcpermit credentials rotate`.
type CredentialsRotateCmd struct {
	Name   string `arg:"" help:"SERVER/CREDENTIAL of the account, as list shows it."`
	Holder string `help:"Whose account it is. Default: the gateway's own." placeholder:"ID"`
}

// Run renews the account.
func (c *CredentialsRotateCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewCredentialServiceClient(conn).RotateCredential(ctx, &v1.RotateCredentialRequest{Name: c.Name, Holder: c.Holder})
		if err != nil {
			return err
		}
		v := viewCredential(res.GetCredential())
		return g.print(v, func() { g.line("Renewed  account %s %s, generation %d", v.Name, holderText(v.Holder), v.Generation) })
	})
}

// CredentialsDeleteCmd is `mcpermit credentials delete`.
type CredentialsDeleteCmd struct {
	Name   string `arg:"" help:"Name, as list shows it."`
	Holder string `help:"Whose it is. Default: the one that all share." placeholder:"ID"`
	Kind   string `default:"secret" enum:"secret,account" help:"What it is: secret or account."`
}

// Run deletes it.
func (c *CredentialsDeleteCmd) Run(g *Globals) error {
	kind := v1.CredentialKind_CREDENTIAL_KIND_SECRET
	if c.Kind == "account" {
		kind = v1.CredentialKind_CREDENTIAL_KIND_ACCOUNT
	}
	return g.call(func(ctx context.Context, conn *connection) error {
		_, err := v1.NewCredentialServiceClient(conn).DeleteCredential(ctx, &v1.DeleteCredentialRequest{Kind: kind, Name: c.Name, Holder: c.Holder})
		if err != nil {
			return err
		}
		deleted := struct {
			Kind   string `json:"kind"`
			Name   string `json:"name"`
			Holder string `json:"holder,omitempty"`
		}{c.Kind, c.Name, c.Holder}
		return g.print(deleted, func() { g.line("Deleted  %s %s %s", c.Kind, c.Name, holderText(c.Holder)) })
	})
}

// CredentialsRekeyCmd is `mcpermit credentials rekey`.
type CredentialsRekeyCmd struct{}

// Help says when it is of use.
func (c *CredentialsRekeyCmd) Help() string {
	return "To change the master key, name the new one under vault.master_key and the old one under vault.old of every decision point, " +
		"start them again, and rekey. After that the old one is needed no longer. A rekey that was interrupted can be begun again."
}

// Run shows the progress: on a terminal in place, and otherwise the end of it.
func (c *CredentialsRekeyCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		stream, err := v1.NewCredentialServiceClient(conn).Rekey(ctx, &v1.RekeyRequest{})
		if err != nil {
			return err
		}
		type progress struct {
			Done  int64 `json:"done"`
			Total int64 `json:"total"`
		}
		var last progress
		inPlace := g.Output != "json" && isTerminal(g.Stdout)
		for {
			next, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if status.Code(err) == codes.Canceled {
				return refused("interrupted at %d of %d: everything can be read as before, and the rest waits for the next rekey", last.Done, last.Total)
			}
			if err != nil {
				return err
			}
			last = progress{next.GetDone(), next.GetTotal()}
			switch {
			case g.Output == "json":
				if err := g.print(last, nil); err != nil {
					return err
				}
			case inPlace:
				fmt.Fprintf(g.Stdout, "\r%d of %d ", last.Done, last.Total)
			}
		}
		if g.Output != "json" {
			if inPlace {
				fmt.Fprint(g.Stdout, "\r")
			}
			g.line("Sealed anew  %d of %d", last.Done, last.Total)
		}
		return nil
	})
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// credentialView is a credential as the command line shows it.
type credentialView struct {
	Kind       string     `json:"kind"`
	Name       string     `json:"name"`
	Holder     string     `json:"holder,omitempty"`
	Generation int64      `json:"generation"`
	CreatedAt  time.Time  `json:"created_at"`
	UpdatedAt  time.Time  `json:"updated_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
}

func viewCredential(c *v1.Credential) credentialView {
	return credentialView{
		Kind: kindText(c.GetKind()), Name: c.GetName(), Holder: c.GetHolder(), Generation: c.GetGeneration(),
		CreatedAt: c.GetCreatedAt().AsTime(), UpdatedAt: c.GetUpdatedAt().AsTime(), ExpiresAt: moment(c.GetExpiresAt()),
	}
}

func kindText(k v1.CredentialKind) string {
	return strings.ToLower(strings.TrimPrefix(k.String(), "CREDENTIAL_KIND_"))
}

func (v credentialView) holderText() string {
	if v.Holder == "" {
		return "-"
	}
	return v.Holder
}

func (v credentialView) expiryText() string {
	if v.ExpiresAt == nil {
		return "-"
	}
	return v.ExpiresAt.Local().Format(time.DateTime)
}
