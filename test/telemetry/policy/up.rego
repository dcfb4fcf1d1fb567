package policy.servers.up

# METADATA
# custom: {id: echo}
allow contains "Echoing is free" if input.tool.name == "echo"
