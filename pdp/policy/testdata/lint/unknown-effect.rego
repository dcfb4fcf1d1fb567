package policy.servers.stripe

denies contains "another word" if input.tool.name == "a" # lint: unknown-effect

alow contains "a letter too few" if input.tool.name == "a" # lint: unknown-effect

hdie contains "letters exchanged" if input.tool.name == "a" # lint: unknown-effect

leftover if input.tool.name == "a" # lint: unknown-effect

allowed if input.tool.name == "a"

# METADATA
# custom: {id: a}
allow contains "uses a helper that is named like an effect" if {
	input.tool.name == "a"
	allowed
}
