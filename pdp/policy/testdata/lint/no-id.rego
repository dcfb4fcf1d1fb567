package policy.global.team

allow contains "no annotation" if input.tool.name == "a" # lint: no-id

# METADATA
# title: a title is no id
allow contains "no id" if input.tool.name == "b" # lint: no-id

# METADATA
# custom: {id: c}
allow contains "an id" if input.tool.name == "c"

# METADATA
# scope: document
# custom: {id: all-denials}
deny contains "an id for all" if input.tool.name == "d"

deny contains "the same id" if input.tool.name == "e"

quota contains {"name": "per-day", "limit": 20, "window": "24h", "per": ["grant"]} if input.tool.name == "c"
