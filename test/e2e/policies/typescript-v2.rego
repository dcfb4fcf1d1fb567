package policy.servers["typescript-v2"]

allow contains "Small sums" if {
	input.tool.name == "add"
	input.arguments.a <= 1000
	input.arguments.b <= 1000
}

deny contains "Sums above 1000 are for people." if {
	input.tool.name == "add"
	input.arguments.a > 1000
}

hide contains "Deletes everything" if input.tool.name == "wipe"
