package policy.attachments.careful

# METADATA
# custom: {id: opens}
allow contains "an attachment opens nothing" if input.tool.name == "a" # lint: unknown-effect

credential contains "full" if input.tool.name == "a" # lint: unknown-effect

# METADATA
# custom: {id: asks}
approve contains "asks, and opens nothing" if input.tool.name == "create_charge"

scope contains "pay:write" if input.tool.name == "refund" # lint: no-id

# METADATA
# custom: {id: negated}
scope contains "pay:all" if input.tool.name != "refund"

quota contains {"name": "q", "limit": 1, "window": "1h"} if input.tool.name == "refund"
