package policy.server.stripe # lint: unknown-effect

deny contains "in the wrong place" if input.tool.name == "a"
