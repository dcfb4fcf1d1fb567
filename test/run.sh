#!/usr/bin/env bash
# `make test`: everything, in the order in which a failure is cheapest. Each
# step installs what it needs, pinned; nothing is skipped in silence.
set -euo pipefail
cd "$(dirname "$0")/.."
export GOFLAGS="${GOFLAGS:-} -buildvcs=false"

began=$SECONDS
step() { printf '\n== %s (%d s)\n' "$1" "$((SECONDS - began))"; }

step "build"
make --no-print-directory build

step "lint: golangci-lint, buf, opa fmt, opa check"
make --no-print-directory lint

step "policy: opa test of the library and the bundles, coverage at least 90 %"
test/rego.sh

step "unit tests under the race detector"
# shellcheck disable=SC2046 # package paths have no blanks
go test -race $(go list ./... | grep -vE '/test/(attacks|bench|faults|quickstart|e2e|conformance|envoy|telemetry|cases|console|quotas|replicas|accounts|identity|secrets)(/|$)')

step "fuzzing, ${FUZZTIME:=10s} each"
test/fuzz.sh "$FUZZTIME"

step "known vulnerabilities"
test/vulncheck.sh

step "real parts: npm, PyPI and Go clients and servers, PostgreSQL, Redis, Chromium"
go run ./test/parts/install

step "README quickstart, end to end, conformance, Envoy, several decision points, console, identities, accounts, secrets"
go test -count=1 -timeout 40m -p 1 ./test/quickstart/... ./test/attacks/... ./test/faults/... ./test/e2e/... ./test/conformance/... ./test/envoy/... ./test/telemetry/... ./test/cases/... ./test/quotas/... ./test/replicas/... ./test/console/... ./test/identity/... ./test/accounts/... ./test/secrets/...

step "manifests: Kubernetes, Istio and Envoy Gateway, against their own schemas"
go -C test/manifests test ./...

step "done"
