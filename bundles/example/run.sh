#!/usr/bin/env bash
# Starts the demo server and `mcpermit up` with the example beside this file,
# creates a grant, and prints four calls to try. Ctrl-C stops everything.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
config=${MCPERMIT_CONFIG:-$root/bundles/example/mcpermit.yaml}
PATH=$root/bin:$PATH

trap 'trap - EXIT; kill $(jobs -p) 2>/dev/null; wait' EXIT
trap 'exit 0' INT TERM
mcpermit-demo -listen "${MCPERMIT_DEMO_LISTEN:-127.0.0.1:9000}" &
mcpermit up -c "$config" &
up=$!

for _ in $(seq 100); do
  kill -0 "$up" 2>/dev/null || { wait "$up" || true; echo "mcpermit did not start; see above" >&2; exit 1; }
  mcpermit -c "$config" grants list >/dev/null 2>&1 && break
  sleep 0.1
done

token=$(mcpermit -c "$config" grants create --subject you --type person --server stripe --label from=quickstart --expires 24h -o json | sed -n 's/.*"token":"\([^"]*\)".*/\1/p')
url=http://$(sed -n 's/^listen: *//p' "$config")/mcp/stripe/

try() {
  printf "\n# %s\ncurl -s %s -H 'Authorization: Bearer %s' -H 'Content-Type: application/json' -H 'Accept: application/json, text/event-stream' -d '%s'\n" \
    "$1" "$url" "$token" "$2"
}
printf '\nClient URL: %s\nGrant token: %s\n' "$url" "$token"
try "an allowed call" '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_refund","arguments":{"charge_id":"ch_105","amount":5000}}}'
try "the denied refund" '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_refund","arguments":{"charge_id":"ch_105","amount":500000}}}'
try "a refund that waits for a person" '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"create_refund","arguments":{"charge_id":"ch_105","amount":20000}}}'
try "the filtered list: delete_customer is not in it" '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
printf '\nWhat was decided, and by which rule: bin/mcpermit -c bundles/example/mcpermit.yaml audit tail\n\n'
wait "$up"
