# The policy of the tests behind Envoy.
package policy.servers.up

# METADATA
# title: Echo
# custom: {id: echo}
allow contains "Echoes are free" if input.tool.name == "echo"

# METADATA
# title: Never
# custom: {id: never}
deny contains "Never." if input.tool.name == "never"
