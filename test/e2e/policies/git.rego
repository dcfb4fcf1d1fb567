package policy.servers.git

allow contains "A short history" if {
	input.tool.name == "git_log"
	input.arguments.max_count <= 10
}

deny contains "At most ten commits." if {
	input.tool.name == "git_log"
	input.arguments.max_count > 10
}

allow contains "Reading" if input.tool.name == "git_status"

hide contains "History is not rewritten" if input.tool.name in {"git_reset", "git_commit"}
