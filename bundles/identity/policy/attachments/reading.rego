# METADATA
# title: Reading
# description: For grants that are given on, say to an agent that is to look things up.
package policy.attachments.reading

# METADATA
# title: Nothing but reading
# custom: {id: reading-only}
deny contains "This grant is for reading." if {
	input.method == "tools/call"
	not input.tool.class == "read"
}

quota contains {"name": "reading", "limit": 100, "window": "1h", "per": ["grant"]} if {
	input.method == "tools/call"
}
