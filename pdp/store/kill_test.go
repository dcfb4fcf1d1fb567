package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/store"
)

// stateEnv names the state directory in the environment of a child process that
// is to be killed.
const stateEnv = "MCPERMIT_TEST_STATE"

// spendEnv has the child spend a quota.
const spendEnv = "MCPERMIT_TEST_SPEND=1"

func TestMain(m *testing.M) {
	if dir := os.Getenv(stateEnv); dir != "" {
		work := churn
		switch {
		case slices.Contains(os.Environ(), spendEnv):
			work = spend
		case slices.Contains(os.Environ(), approveEnv):
			work = approve
		}
		fmt.Fprintln(os.Stderr, work(dir))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// churn creates and revokes grants without end, and says so of each when the
// store has answered.
func churn(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, dir)
	if err != nil {
		return err
	}
	a := identity.NewAuthenticator(s, identity.Options{})
	for {
		g, token, err := a.Create(ctx, identity.Grant{Subject: identity.Subject{ID: "agent"}, Servers: []string{"*"}})
		if err != nil {
			return err
		}
		fmt.Println("created", token)
		if _, err := a.Revoke(ctx, g.ID); err != nil {
			return err
		}
		fmt.Println("revoked", token)
	}
}

// A process that is killed with SIGKILL has lost nothing of what it had
// answered, and the next one opens its state directory at once. (A crash of the
// machine is what synchronous=FULL is for; no test here can show that.)
func TestNoAcknowledgedGrantIsLostInAKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]string{} // token → the last that was said of it
	for round := range 8 {
		killAfter(t, dir, 5+round*7, acknowledged)

		s, err := store.Open(t.Context(), dir)
		if err != nil {
			t.Fatalf("round %d: open after the kill: %v", round, err)
		}
		a := identity.NewAuthenticator(s, identity.Options{})
		for token, said := range acknowledged {
			_, err := a.Identify(t.Context(), identity.Evidence{BearerToken: token}, "stripe")
			var refusal *identity.Refusal
			refused := errors.As(err, &refusal)
			switch {
			case refused && refusal.Code == identity.Revoked:
				// Also when only its creation was acknowledged: the child may have been
				// killed between the store's answer and the line.
			case err == nil && said == "created":
			default:
				t.Errorf("round %d: a grant that was acknowledged as %s: %v", round, said, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if len(acknowledged) < 50 {
		t.Errorf("only %d grants were acknowledged", len(acknowledged))
	}
}

// killAfter runs a child until it has acknowledged so many acts, kills it, and
// notes all that it had acknowledged by then.
func killAfter(t *testing.T, dir string, acts int, acknowledged map[string]string, env ...string) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(append(os.Environ(), stateEnv+"="+dir), env...)
	var complaints strings.Builder
	child.Stderr = &complaints
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	lines := bufio.NewReader(out)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line that was cut off was not acknowledged
		}
		if err != nil {
			t.Fatal(err)
		}
		said, token, _ := strings.Cut(strings.TrimSpace(line), " ")
		acknowledged[token] = said
		if seen++; seen == acts {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := child.Wait(); err == nil || seen < acts {
		t.Fatalf("the child ended by itself after %d acts: %v %s", seen, err, complaints.String())
	}
}

// While one process has the state directory, another is told so.
func TestAnotherProcessIsRefused(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	defer closed(t, s)
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), stateEnv+"="+dir)
	out, err := child.CombinedOutput()
	if err == nil {
		t.Error("the child opened the store")
	}
	want := fmt.Sprintf("in use by another mcpermit (process %d)", os.Getpid())
	if !strings.Contains(string(out), want) {
		t.Errorf("the child said %q, want %q", out, want)
	}
}
