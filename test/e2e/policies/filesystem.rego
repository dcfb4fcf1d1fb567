package policy.servers.filesystem

allow contains "Reading text files" if {
	input.tool.name == "read_text_file"
	endswith(input.arguments.path, ".txt")
}

deny contains "Secrets are not read." if {
	input.tool.name == "read_text_file"
	endswith(input.arguments.path, "secret.txt")
}

allow contains "Listing" if input.tool.name == "list_directory"
