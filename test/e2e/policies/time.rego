package policy.servers.time

allow contains "UTC is free" if {
	input.tool.name == "get_current_time"
	input.arguments.timezone == "UTC"
}

deny contains "Only UTC is told." if {
	input.tool.name == "get_current_time"
	input.arguments.timezone != "UTC"
}

hide contains "Not offered" if input.tool.name == "convert_time"
