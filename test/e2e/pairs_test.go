package e2e

import (
	"slices"
	"strings"
	"testing"
)

// silent are the pairs that cannot speak to each other, gateway or not, each
// with the reason. Every other pair must.
var silent = map[[2]string]string{
	{"inspector-modern", "everything-http"}:  onlyModern,
	{"inspector-modern", "everything-stdio"}: onlyModern,
	{"inspector-modern", "filesystem"}:       onlyModern,
	{"inspector-modern", "go-stateful"}:      onlyModern,
}

// codeHeaderMismatch answers a call without the headers that it should have.
const codeHeaderMismatch = -32020

const onlyModern = "the client offers 2026-07-28 and nothing else, the server nothing newer than 2025-11-25"

// version is what a pair agrees on: the newest that both speak.
func version(c client, s server) string {
	for _, v := range []string{modernVersion, legacyVersion} {
		if slices.Contains(c.eras, v) && s.speaks(v) {
			return v
		}
	}
	return ""
}

// TestSilentPairsAreThoseWithoutACommonVersion keeps the list above honest.
func TestSilentPairsAreThoseWithoutACommonVersion(t *testing.T) {
	for _, c := range clients("") {
		for _, s := range fleet.all {
			_, listed := silent[[2]string{c.name, s.name}]
			if common := version(c, s); (common == "") != listed {
				t.Errorf("%s and %s have %q in common; listed as silent: %t", c.name, s.name, common, listed)
			}
		}
	}
}

// eachPair runs a test for each client and each server, two at a time or as
// many as there are processors.
func eachPair(t *testing.T, clients []client, test func(*testing.T, client, server)) {
	for _, c := range clients {
		for _, s := range fleet.all {
			t.Run(c.name+"/"+s.name, func(t *testing.T) {
				t.Parallel()
				test(t, c, s)
			})
		}
	}
}

// TestDirect proves clients, servers and harness without a gateway: the
// listing holds every tool, and the allowed calls are answered.
func TestDirect(t *testing.T) {
	t.Parallel()
	eachPair(t, clients(""), func(t *testing.T, c client, s server) {
		if s.url != "" && !c.http || s.url == "" && !c.stdio {
			return // nothing to prove: this client meets this server through the gateway only
		}
		allowed := c.calls(s.allowed)
		operations := []operation{{Op: "list"}}
		for _, want := range allowed {
			operations = append(operations, want.operation)
		}
		outcomes := perform(t, c, s, s.direct(), operations)
		if outcomes == nil {
			return
		}
		for _, tool := range s.tools {
			if !slices.Contains(outcomes[1].Tools, tool) {
				t.Errorf("%s is not listed: %v", tool, outcomes[1].Tools)
			}
		}
		for i, want := range allowed {
			checkAllowed(t, c, s, want, outcomes[2+i])
		}
	})
}

// perform has the client do the operations and checks how it connected. It
// returns nil for a pair that is silent, and was.
func perform(t *testing.T, c client, s server, to target, operations []operation) []outcome {
	t.Helper()
	outcomes, err := c.perform(t.Context(), to, operations)
	if err != nil {
		t.Fatal(err)
	}
	connected := outcomes[0]
	if reason, ok := silent[[2]string{c.name, s.name}]; ok {
		if connected.Error == nil {
			t.Errorf("they connected in %q, although %s", connected.Version, reason)
		}
		return nil
	}
	if connected.Error != nil {
		t.Fatalf("could not connect: %v %s", connected.Error.Code, connected.Error.Message)
	}
	if want := version(c, s); connected.Version != want {
		t.Errorf("agreed on %q, want %q", connected.Version, want)
	}
	for i, op := range operations {
		if got := outcomes[1+i]; got.Op != op.Op || got.Name != op.Name {
			t.Fatalf("outcome %d is of %s %s, want of %s %s", i, got.Op, got.Name, op.Op, op.Name)
		}
	}
	return outcomes
}

func checkAllowed(t *testing.T, c client, s server, want expectation, got outcome) {
	t.Helper()
	switch {
	case want.mirrored && c.mirrorsNothing && version(c, s) == modernVersion:
		if got.Error == nil || got.Error.Code != float64(codeHeaderMismatch) {
			t.Errorf("%s without its header gave %+v, want error %d", want.Name, got, codeHeaderMismatch)
		}
	case got.Error != nil:
		t.Errorf("%s %v: error %v %s", want.Name, want.Arguments, got.Error.Code, got.Error.Message)
	case got.IsError || !strings.Contains(got.Text, want.text):
		t.Errorf("%s %v: answered %q (isError %t), want %q in it", want.Name, want.Arguments, got.Text, got.IsError, want.text)
	}
}
