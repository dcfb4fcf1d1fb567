package policy.servers.protected

allow contains "Whoever has a grant may use it."

quota contains {"name": "calls", "limit": 100, "window": "24h", "per": ["subject"]} if input.tool.name in {"balance", "charge"}

# Agents look, and people do: two keys of one server.
credential contains "read" if {
	input.grant.labels.keys == "two"
	input.subject.type == "agent"
}
