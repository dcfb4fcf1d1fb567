package policy.global.team

# METADATA
# custom: {id: a}
allow contains "no such name" if input.tool.nme == "a" # lint: unknown-input-path

# METADATA
# custom: {id: b}
allow contains "no such part" if input.user.id == "a" # lint: unknown-input-path

# METADATA
# custom: {id: c}
allow contains "through a local" if {
	tool := input.tool
	tool.clas == "read" # lint: unknown-input-path
}

# METADATA
# custom: {id: d}
allow contains "open objects hold anything" if {
	input.method == "tools/call"
	input.arguments.anything.at.all
	input.subject.claims.department == "finance"
	input.grant.labels.team == "payments"
	input.server.labels.zone == "eu"
	input.tool.annotations.readOnlyHint
}
