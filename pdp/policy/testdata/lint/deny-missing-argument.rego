package policy.servers.stripe

# METADATA
# custom: {id: unbounded}
deny contains "silent without amount" if { # lint: deny-missing-argument
	input.tool.name == "create_refund"
	input.arguments.amount > 50000
}

# METADATA
# custom: {id: not-enough}
deny contains "silent without fee" if { # lint: deny-missing-argument
	input.tool.name == "create_refund"
	not input.arguments.fee <= 10
}

# METADATA
# custom: {id: conversion}
deny contains "silent without count" if { # lint: deny-missing-argument
	input.tool.name == "create_refund"
	count(input.arguments.notes) > 3
}

# METADATA
# custom: {id: refunds}
allow contains "opens without them" if input.tool.name == "create_refund"

# METADATA
# custom: {id: bounded}
deny contains "bounded in the allow" if {
	input.tool.name == "create_payout"
	input.arguments.amount > 50000
}

# METADATA
# custom: {id: payouts}
allow contains "bounded" if {
	input.tool.name == "create_payout"
	input.arguments.amount <= 50000
}

# METADATA
# custom: {id: other}
deny contains "another denies without" if {
	input.tool.name == "create_charge"
	input.arguments.amount > 50000
}

# METADATA
# custom: {id: without}
deny contains "the amount is missing" if {
	input.tool.name == "create_charge"
	not amount_given
}

amount_given if is_number(input.arguments.amount)

# METADATA
# custom: {id: charges}
allow contains "opens" if input.tool.name == "create_charge"

# METADATA
# custom: {id: nobody-opens}
deny contains "nothing opens this tool" if {
	input.tool.name == "wire_transfer"
	input.arguments.amount > 50000
}

# METADATA
# custom: {id: one-value}
deny contains "one value is refused, all others are meant" if {
	input.tool.name == "create_refund"
	input.arguments.force == true
}

# METADATA
# custom: {id: other-method}
allow contains "speaks of no tool" if input.method == "logging/setLevel"
