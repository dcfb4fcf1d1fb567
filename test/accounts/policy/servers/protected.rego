package policy.servers.protected

allow contains "Whoever has a grant may use it."

quota contains {"name": "calls", "limit": 100, "window": "24h", "per": ["subject"]} if input.tool.name in {"balance", "charge"}
