package policy.servers["go-stateful"]

allow contains "Harmless" if input.tool.name in {"test_simple_text", "test_x_mcp_header"}

allow contains "Known contacts" if {
	input.tool.name == "json_schema_2020_12_tool"
	input.arguments.name in {"Ada"}
}

deny contains "Only Ada is contacted." if {
	input.tool.name == "json_schema_2020_12_tool"
	input.arguments.name != "Ada"
}

hide contains "Errors are not offered" if input.tool.name == "test_error_handling"
