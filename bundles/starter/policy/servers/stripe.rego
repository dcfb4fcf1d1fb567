# METADATA
# title: Payments
# description: |
#   What agents may do with the payment server. Amounts are in cents.
#   Everything that is not allowed here does not exist for them.
package policy.servers.stripe

cap := 50000

needs_a_person := 10000

# METADATA
# title: Refund cap
# custom: {id: refund-cap}
deny contains "Refund exceeds the policy limit." if {
	input.tool.name == "create_refund"
	not input.arguments.amount <= cap
}

# METADATA
# title: Larger refunds
# custom: {id: refund-approval}
approve contains {
	"reason": "A refund above 100.00 needs a person.",
	"approvers": ["group:finance"],
	"expires": "1h",
} if {
	input.tool.name == "create_refund"
	input.arguments.amount > needs_a_person
}

# A rule that allows says how much, and for whom it may be: a missing amount, or
# one that is no number, is then not allowed, without any rule against it.

# METADATA
# title: Refunds within the cap
# custom: {id: refund}
allow contains "Refunds within the limit are allowed." if {
	input.tool.name == "create_refund"
	is_number(input.arguments.amount)
	input.arguments.amount > 0
	input.arguments.amount <= cap
}

# METADATA
# title: How many refunds
# custom: {id: refunds-per-day}
quota contains {"name": "refunds-per-day", "limit": 20, "window": "24h", "per": ["grant"]} if {
	input.tool.name == "create_refund"
}

# METADATA
# title: How much in refunds
# custom: {id: refund-total-per-day}
quota contains {
	"name": "refund-total-per-day",
	"limit": 200000,
	"cost": input.arguments.amount,
	"window": "24h",
	"per": ["subject"],
} if {
	input.tool.name == "create_refund"
}

# METADATA
# title: Reading
# custom: {id: read}
allow contains "Reading is allowed." if {
	input.tool.name in {"get_balance", "list_charges"}
}

# METADATA
# title: Destructive tools
# custom: {id: not-for-agents}
hide contains "Not offered to agents." if {
	input.tool.name in {"delete_customer"}
}
