package policy.global.team

# METADATA
# custom: {id: a}
allow contains "no such function" if no.such.function(input.tool.name) # lint: compile
