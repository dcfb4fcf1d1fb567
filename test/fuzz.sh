#!/usr/bin/env bash
# Runs every fuzz target of the module for the given time: fuzz.sh [10s]
set -euo pipefail
cd "$(dirname "$0")/.."
fuzztime=${1:-10s}
targets=$(grep -rHoE --include='*_test.go' '^func Fuzz[A-Za-z0-9_]+' . | sed -E 's#^\./(.*)/[^/]+:func (Fuzz.*)#\1 \2#' | sort)
[ -n "$targets" ] || { echo "no fuzz target found" >&2; exit 1; }

# Before Go 1.27 the fuzzer can take the end of its own time for a failure of
# the target (golang/go#75804). Such a run has no failing input; it is made
# again, twice at most.
fuzz() {
  local tries=3
  while true; do
    out=$(go test -run '^$' -fuzz "^$2\$" -fuzztime "$fuzztime" -fuzzminimizetime 1s "./$1" 2>&1) && return
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] && ! grep -q 'Failing input' <<<"$out" &&
      grep -A1 -- '^--- FAIL: Fuzz' <<<"$out" | tail -n 1 | grep -qx ' *context deadline exceeded' || return 1
  done
}

while read -r dir name; do
  printf '%s %s: ' "$dir" "$name"
  fuzz "$dir" "$name" || { printf 'FAIL\n%s\n' "$out"; exit 1; }
  tail -n 2 <<<"$out" | head -n 1
done <<<"$targets"
