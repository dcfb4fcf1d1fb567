package policy.servers.pay

# METADATA
# custom: {id: refunds}
allow contains "opens" if input.tool.name == "refund"

scope contains "pay:write" if input.tool.name == "refund" # lint: no-id

# METADATA
# custom: {id: function}
scope contains "pay:admin" if lower(input.tool.name) == "wipe" # lint: not-indexed

credential contains "read-only" if input.tool.class == "read"

credential contains "full" if input.tool.class != "read" # lint: not-indexed

scopes contains "pay:write" if input.tool.name == "refund" # lint: unknown-effect

# METADATA
# custom: {id: actor}
deny contains "nobody acts for others" if {
	input.tool.name == "refund"
	input.subject.actor.id != ""
	input.subject.actor.name != "" # lint: unknown-input-path
}
