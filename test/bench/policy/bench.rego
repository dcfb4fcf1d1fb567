# A policy of a usual size for the bench: bounded allow, deny, hide.
package policy.servers.bench

# METADATA
# custom: {id: cap}
deny contains "Refund exceeds the policy limit." if {
	input.tool.name == "create_refund"
	not input.arguments.amount <= 50000
}

# METADATA
# custom: {id: no-deletion}
hide contains "Not offered to agents" if input.tool.name == "delete_customer"

# METADATA
# custom: {id: refund}
allow contains "Refund within the cap" if {
	input.tool.name == "create_refund"
	input.arguments.amount > 0
	input.arguments.amount <= 50000
}

# METADATA
# custom: {id: reading}
allow contains "Reading is free" if startswith(input.tool.name, "list_")
