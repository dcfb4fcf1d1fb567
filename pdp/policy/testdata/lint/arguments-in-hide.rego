package policy.servers.stripe

# METADATA
# custom: {id: direct}
hide contains "direct" if input.arguments.amount > 1 # lint: arguments-in-hide

# METADATA
# custom: {id: whole}
hide contains "computed" if { # lint: arguments-in-hide
	some part in ["arguments"]
	input[part].amount
}

# METADATA
# custom: {id: local}
hide contains "through a local" if { # lint: arguments-in-hide
	arguments := input.arguments
	arguments.amount == 1
}

# METADATA
# custom: {id: rule}
hide contains "through a rule" if large # lint: arguments-in-hide

large if input.arguments.amount > 1

# METADATA
# custom: {id: fine}
hide contains "of the tool alone" if input.tool.class == "destructive"
