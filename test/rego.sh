#!/usr/bin/env bash
# Rego tests of the policy library and the shipped bundles, with OPA itself.
set -euo pipefail
cd "$(dirname "$0")/.."
go tool opa test rego bundles
go tool opa test --coverage --threshold 90 --format json rego bundles | grep -E '"coverage": [0-9.]+,?$' | tail -n 1
