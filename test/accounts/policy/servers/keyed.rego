package policy.servers.keyed

allow contains "Whoever has a grant may use it."

# Agents look, and people do.
credential contains "read" if input.subject.type == "agent"
