# METADATA
# description: Each epoch has a total of its own, and a number of calls.
package policy.servers.up

allow contains "Counted." if input.tool.name in {"spend", "both", "count", "amount"}

allow contains "Not counted." if input.tool.name == "free"

quota contains {
	"name": "total",
	"limit": 100,
	"cost": input.arguments.amount,
	"window": "24h",
	"key": input.arguments.epoch,
} if {
	input.tool.name in {"spend", "both"}
}

quota contains {
	"name": "calls",
	"limit": 30,
	"window": "24h",
	"key": input.arguments.epoch,
} if {
	input.tool.name == "both"
}

# What the benchmark counts, and never uses up.
quota contains {"name": "plenty", "limit": 1000000000, "window": "24h", "per": ["subject"]} if input.tool.name == "count"

quota contains {
	"name": "plenty",
	"limit": 1000000000,
	"cost": input.arguments.amount,
	"window": "24h",
	"per": ["subject"],
} if {
	input.tool.name == "amount"
}
