#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time: fuzz.sh [10s]
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${1:-10s}
targets=$(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's#^\./(.*)/[^/]+:func (Fuzz.*)#\1 \2#' | sort)
[ -n "$targets" ] || { echo "no fuzz target found" >&2; exit 1; }
while read -r dir name; do
  printf '%s %s: ' "$dir" "$name"
  out=$(go test -run '^$' -fuzz "^$name\$" -fuzztime "$fuzztime" -fuzzminimizetime 1s "./$dir" 2>&1) || { printf 'FAIL\n%s\n' "$out"; exit 1; }
  tail -n 2 <<<"$out" | head -n 1
done <<<"$targets"
