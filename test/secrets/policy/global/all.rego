package policy.global.all

# METADATA
# title: What the tests call
# custom: {id: all}
allow contains "The tests may call everything"

# METADATA
# title: Payments
# custom: {id: payments}
approve contains "A payment needs a person" if input.tool.name == "pay"

deny contains "Nobody may wipe" if input.tool.name == "wipe"

mask contains "/note" if input.method == "tools/call"

quota contains {"name": "calls", "limit": 1000, "window": "1h", "per": ["grant"]} if input.method == "tools/call"

quota contains {"name": "amount", "limit": 1000, "cost": input.arguments.amount, "window": "1h", "per": ["subject"]} if input.tool.name == "pay"
