package policy.global.clients

# The MCP Inspector sets the log level while it connects to a legacy server
# that can log, and gives up when that is refused.
allow contains "A client may choose how much it hears" if input.method == "logging/setLevel"
