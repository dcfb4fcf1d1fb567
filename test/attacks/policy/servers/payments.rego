# The policy of the attack fixture: allow is bounded, nothing else is listed.
package policy.servers.payments

# METADATA
# title: Reading a balance
# custom: {id: balance}
allow contains "Reading a balance is free" if {
	input.tool.name == "get_balance"
	optional_string("account")
}

# METADATA
# title: One refund
# custom: {id: refund}
allow contains "Refund within the cap" if {
	input.tool.name in {"refund", "refund_int"}
	within_cap(input.arguments.amount)
	optional_string("account")
	optional_string("note")
}

# METADATA
# title: Several refunds
# custom: {id: batch}
allow contains "Refunds within the cap" if {
	input.tool.name == "batch_refund"
	is_array(input.arguments.items)
	count(input.arguments.items) > 0
	every item in input.arguments.items {
		is_object(item)
		within_cap(item.amount)
		is_string(object.get(item, "account", ""))
		is_string(object.get(item, "note", ""))
	}
	sum([item.amount | some item in input.arguments.items]) <= 100
}

# METADATA
# title: No deletion
# custom: {id: no-deletion}
hide contains "Agents do not delete accounts" if input.tool.name == "delete_account"

within_cap(amount) if {
	is_number(amount)
	amount > 0
	amount <= 100
}

optional_string(name) if is_string(object.get(input.arguments, name, ""))
