package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"

	"github.com/mcpermit/mcpermit/pdp/inert"
	"github.com/mcpermit/mcpermit/pdp/policy"
)

// PolicyCmd works on policy: before it is in force, and while it is.
type PolicyCmd struct {
	Test    PolicyTestCmd    `cmd:"" help:"Run a policy's tests, with what it has in production."`
	Lint    PolicyLintCmd    `cmd:"" help:"Find what the author of a policy will not have meant."`
	Build   PolicyBuildCmd   `cmd:"" help:"Make a bundle.tar.gz of a directory, and sign it."`
	Status  PolicyStatusCmd  `cmd:"" help:"Say what policy is in force, and what became of the last change."`
	Explain PolicyExplainCmd `cmd:"" help:"Say why a policy decides an input as it does."`
	Replay  PolicyReplayCmd  `cmd:"" help:"Make recorded decisions again under another policy, and show which change."`
}

// readPolicy reads a directory, a bundle or a URL of one, signed or not: these
// commands look into policies, they put none in force.
func readPolicy(ctx context.Context, location string, o policy.SourceOptions) (*bundle.Bundle, error) {
	o.Unverified = true
	source, err := policy.NewSource(location, o)
	if err != nil {
		return nil, misuse("%w", err)
	}
	b, err := source.Read(ctx)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, misuse("%w", err)
	case err != nil:
		return nil, refused("%s does not load: %w", source, err)
	}
	return b, nil
}

// buildPolicy reads a policy and builds what would be in force.
func buildPolicy(ctx context.Context, location string) (*policy.Snapshot, error) {
	b, err := readPolicy(ctx, location, policy.SourceOptions{})
	if err != nil {
		return nil, err
	}
	s, err := policy.Build(ctx, b, policy.Options{})
	if err != nil {
		return nil, refused("%s does not load: %w", location, err)
	}
	return s, nil
}

// PolicyLintCmd is `mcpermit policy lint`.
type PolicyLintCmd struct {
	Path   string `arg:"" help:"Directory, bundle.tar.gz, or URL of one." placeholder:"PATH"`
	Strict bool   `help:"Warnings are errors, too."`
}

type findingView struct {
	Check    string          `json:"check"`
	Severity policy.Severity `json:"severity"`
	File     string          `json:"file"`
	Line     int             `json:"line"`
	Path     string          `json:"path,omitempty"`
	Message  string          `json:"message"`
}

// Run prints the findings; it exits with 1 when one is an error.
func (c *PolicyLintCmd) Run(g *Globals) error {
	ctx := context.Background()
	b, err := readPolicy(ctx, c.Path, policy.SourceOptions{})
	if err != nil {
		return err
	}
	bad, all := 0, policy.Lint(b)
	for _, f := range all {
		if c.Strict || f.Severity == policy.SeverityError {
			bad++
		}
		if err := g.print(findingView(f), func() { g.line("%s", f) }); err != nil {
			return err
		}
	}
	// The linter does not know everything that keeps a policy from loading.
	if _, err := policy.Build(ctx, b, policy.Options{}); err != nil && bad == 0 {
		return refused("%s does not load: %w", c.Path, err)
	}
	if bad > 0 {
		return refused("%s to correct", plural(bad, "finding"))
	}
	if g.Output != "json" {
		g.line("%s, %s", plural(len(b.Modules), "module"), plural(len(all), "warning"))
	}
	return nil
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// PolicyBuildCmd is `mcpermit policy build`.
type PolicyBuildCmd struct {
	Dir        string `arg:"" help:"Directory of the policy." placeholder:"DIR"`
	Out        string `short:"O" type:"path" default:"bundle.tar.gz" help:"File to write." placeholder:"FILE"`
	Revision   string `help:"Revision of the bundle: a number, a time or a version, greater than that of the last one. Default: that of .manifest." placeholder:"R"`
	SigningKey string `type:"path" help:"Private key to sign with, PEM." placeholder:"FILE"`
	KeyID      string `name:"key-id" help:"Key id that the signature names; with --signing-key." placeholder:"ID"`
}

type builtView struct {
	File     string `json:"file"`
	Revision string `json:"revision"`
	Digest   string `json:"digest"`
	Bytes    int    `json:"bytes"`
	Modules  int    `json:"modules"`
	KeyID    string `json:"key_id,omitempty"`
}

// Run builds the bundle, if it would load.
func (c *PolicyBuildCmd) Run(g *Globals) error {
	key, err := c.key()
	if err != nil {
		return err
	}
	ctx := context.Background()
	b, err := readPolicy(ctx, c.Dir, policy.SourceOptions{})
	if err != nil {
		return err
	}
	if c.Revision != "" {
		b.Manifest.Revision = c.Revision
	}
	if err := c.check(ctx, g, b); err != nil {
		return err
	}
	var archive bytes.Buffer
	if err := policy.WriteArchive(&archive, b, key); err != nil {
		return err
	}
	if err := replaceFile(c.Out, archive.Bytes()); err != nil {
		return err
	}
	// What was written is read back as a PDP would, before anybody gets it.
	if err := c.readBack(ctx, b, key); err != nil {
		return errors.Join(err, os.Remove(c.Out))
	}
	view := builtView{File: c.Out, Revision: b.Manifest.Revision, Digest: policy.Digest(b), Bytes: archive.Len(), Modules: len(b.Modules), KeyID: c.KeyID}
	return g.print(view, func() {
		g.line("Bundle    %s (%s, %s)", view.File, plural(view.Modules, "module"), plural(view.Bytes, "byte"))
		g.line("Revision  %s", orNone(view.Revision))
		g.line("Digest    %s", view.Digest)
		g.line("Signed    %s", orNone(view.KeyID))
	})
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

func (c *PolicyBuildCmd) key() (*policy.SigningKey, error) {
	if (c.SigningKey == "") != (c.KeyID == "") {
		return nil, misuse("--signing-key and --key-id go together")
	}
	if c.SigningKey == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(c.SigningKey)
	if err != nil {
		return nil, misuse("%w", err)
	}
	key, err := policy.NewSigningKey(pem, c.KeyID)
	if err != nil {
		return nil, misuse("%s: %w", c.SigningKey, err)
	}
	return key, nil
}

// check refuses what would not load, or would not do what it looks like.
func (c *PolicyBuildCmd) check(ctx context.Context, g *Globals, b *bundle.Bundle) error {
	bad := 0
	for _, f := range policy.Lint(b) {
		if f.Severity == policy.SeverityError {
			bad++
			fmt.Fprintln(g.Stderr, inert.Text(f.String()))
		}
	}
	if bad > 0 {
		return refused("nothing written: %s to correct", plural(bad, "finding"))
	}
	if _, err := policy.Build(ctx, b, policy.Options{}); err != nil {
		return refused("nothing written: %s does not load: %w", c.Dir, err)
	}
	return nil
}

func (c *PolicyBuildCmd) readBack(ctx context.Context, b *bundle.Bundle, key *policy.SigningKey) error {
	var o policy.SourceOptions
	if key != nil {
		o = policy.SourceOptions{PublicKey: key.PublicKey(), KeyID: key.ID()}
	}
	source, err := policy.NewSource(c.Out, o)
	if err != nil {
		return err
	}
	again, err := source.Read(ctx)
	if err != nil {
		return fmt.Errorf("the bundle that was written does not read: %w", err)
	}
	if policy.Digest(again) != policy.Digest(b) {
		return errors.New("the bundle that was written reads differently")
	}
	return nil
}

// replaceFile writes a file in one step, so that a server that watches it never
// sees half of it.
func replaceFile(name string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing after the rename
	_, err = f.Write(data)
	if err = errors.Join(err, f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), name)
}

// setName is the last part of a rule's path: the effect that it wants.
func setName(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
