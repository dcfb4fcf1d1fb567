# METADATA
# title: Baseline
# description: |
#   Holds for every server, beside the protocol's own housekeeping, which the
#   policy library allows.
package policy.global.baseline

# METADATA
# title: Log level
# custom: {id: log-level}
allow contains "How much a server logs is the client's choice." if {
	input.method == "logging/setLevel"
}
