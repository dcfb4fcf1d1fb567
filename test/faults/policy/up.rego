package policy.servers.up

# METADATA
# custom: {id: read}
allow contains "Reading is free" if input.tool.name in {"echo", "slow", "reset", "hang"}

# METADATA
# custom: {id: never}
deny contains "Never." if input.tool.name == "never"

# METADATA
# custom: {id: pay}
approve contains "Paying needs a person." if input.tool.name == "pay"
