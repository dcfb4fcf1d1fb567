// Package conformance runs the official MCP conformance suite against the Go
// SDK's server, directly and through `mcpermit up` under a policy that allows
// everything: nothing may be lost on the way, in either era.
package conformance

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// era is one that the gateway serves, with what the suite's frozen requirements
// of it hold and the Go SDK 1.8.0 passes.
type era struct {
	revision  string
	stateless bool
	want      tally
}

var eras = []era{
	{"2026-07-28", true, tally{ScenariosPassed: 37, Scenarios: 37, ChecksPassed: 121, Checks: 121}},
	{"2025-11-25", false, tally{ScenariosPassed: 30, Scenarios: 30, ChecksPassed: 70, Checks: 70}},
}

func TestDirect(t *testing.T) {
	for _, era := range eras {
		t.Run(era.revision, func(t *testing.T) {
			direct := directly(t, era)
			if got := direct.scored(); got != era.want {
				t.Errorf("scored %+v, want %+v\n%s", got, era.want, direct.Failures)
			}
		})
	}
}

// TestShimLosesNothing proves the shim that the gateway runs have in front.
func TestShimLosesNothing(t *testing.T) {
	for _, era := range eras {
		t.Run(era.revision, func(t *testing.T) {
			upstream := strings.TrimSuffix(startEverything(t, era.stateless), "/")
			result := runSuite(t, startShim(t, upstream, "unused"), "--requirements", era.revision)
			if got := result.scored(); got != era.want {
				t.Errorf("scored %+v, want %+v\n%s", got, era.want, result.Failures)
			}
		})
	}
}

func TestThroughGatewayEqualsDirect(t *testing.T) {
	for _, era := range eras {
		t.Run(era.revision, func(t *testing.T) {
			equalsDirect(t, era, startGateway(t, startEverything(t, era.stateless)))
		})
	}
}

// TestThroughEnvoyEqualsDirect has the same requests pass a real Envoy. There is
// no check that fails for reasons of Envoy's own.
func TestThroughEnvoyEqualsDirect(t *testing.T) {
	for _, era := range eras {
		t.Run(era.revision, func(t *testing.T) {
			equalsDirect(t, era, startEnvoy(t, startEverything(t, era.stateless)))
		})
	}
}

// equalsDirect holds that every check comes out at the URL as it does without
// anything in between.
func equalsDirect(t *testing.T, era era, url string) {
	t.Helper()
	direct := directly(t, era)
	through := runSuite(t, url, "--requirements", era.revision)
	if diff := cmp.Diff(direct.Scenarios, through.Scenarios); diff != "" {
		t.Errorf("checks directly (-) and through the gateway (+):\n%s\n%s", diff, through.Failures)
	}
	got := through.scored()
	if got != era.want {
		t.Errorf("scored %+v, want %+v", got, era.want)
	}
	t.Logf("through the gateway: %d/%d scenarios, %d/%d checks", got.ScenariosPassed, got.Scenarios, got.ChecksPassed, got.Checks)
}

// measured are the reports of the suite without anything in between, by
// revision.
var measured = map[string]report{}

// directly runs the suite without anything in between, once for each era.
func directly(t *testing.T, era era) report {
	t.Helper()
	if _, ok := measured[era.revision]; !ok {
		measured[era.revision] = runSuite(t, startEverything(t, era.stateless), "--requirements", era.revision)
	}
	return measured[era.revision]
}

// TestGatewayItselfRefusesDNSRebinding puts an upstream behind the gateway that
// never gets to see a Host or Origin that it could refuse.
func TestGatewayItselfRefusesDNSRebinding(t *testing.T) {
	upstream, url := startRecorder(t, startEverything(t, true))
	control := runSuite(t, url, "--scenario", "dns-rebinding-protection")
	if checks := control.Scenarios["dns-rebinding-protection"]; !slices.Contains(checks, "FAILURE localhost-host-rebinding-rejected") {
		t.Fatalf("the upstream refuses by itself, so this test shows nothing: %v", checks)
	}
	upstream.forget()
	result := runSuite(t, startGateway(t, url), "--scenario", "dns-rebinding-protection")
	want := map[string][]string{"dns-rebinding-protection": {
		"SUCCESS localhost-host-rebinding-rejected", "SUCCESS localhost-host-valid-accepted",
	}}
	if diff := cmp.Diff(want, result.Scenarios); diff != "" {
		t.Errorf("checks (-want +got):\n%s\n%s", diff, result.Failures)
	}
	seen := upstream.seen()
	if len(seen) == 0 {
		t.Error("the upstream got no request at all, not even the rightful one")
	}
	for _, request := range seen {
		if strings.Contains(request, "evil") {
			t.Errorf("the upstream got a request for %s", request)
		}
	}
}
