package policy.servers["everything-http"]

allow contains "Harmless" if input.tool.name == "echo"

allow contains "Small sums" if {
	input.tool.name == "get-sum"
	input.arguments.a <= 1000
	input.arguments.b <= 1000
}

deny contains "Sums above 1000 are for people." if {
	input.tool.name == "get-sum"
	input.arguments.a > 1000
}

allow contains "Weather of the allowed cities" if {
	input.tool.name == "get-structured-content"
	input.arguments.location in {"Chicago", "Los Angeles"}
}

deny contains "No weather of New York." if {
	input.tool.name == "get-structured-content"
	input.arguments.location == "New York"
}

# Not listed, since no call to it can pass; but whoever calls it is told why.
allow contains "All else equal" if input.tool.name == "trigger-long-running-operation"

deny contains "Long runs are for people." if input.tool.name == "trigger-long-running-operation"

hide contains "The environment holds secrets" if input.tool.name == "get-env"
