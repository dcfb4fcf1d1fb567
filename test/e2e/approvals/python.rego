package policy.servers.python

# METADATA
# custom: {id: sums-need-a-person}
approve contains "Sums need a person." if input.tool.name == "add"
