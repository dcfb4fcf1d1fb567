#!/usr/bin/env bash
# govulncheck, where its database can be had; says so where it can't.
set -euo pipefail
cd "$(dirname "$0")/.."
version=v1.9.0
out=$(go run "golang.org/x/vuln/cmd/govulncheck@$version" ./... 2>&1) && code=0 || code=$?
if grep -qE 'fetching vulnerabilities|no such host|connection refused' <<<"$out" && ! grep -q '^Vulnerability #' <<<"$out"; then
  echo "NOT RUN: govulncheck's database can't be reached from here"
  grep -m 1 -E "fetching|no such host|refused" <<<"$out"
  exit 0
fi
printf '%s\n' "$out" | tail -n 20
exit "$code"
