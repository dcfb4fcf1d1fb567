# METADATA
# description: One tool is counted by calls and by amount, one needs a person.
package policy.servers.up

allow contains "Counted." if input.tool.name == "spend"

approve contains {"reason": "Needs a person.", "approvers": ["operator"]} if input.tool.name == "ask"

quota contains {"name": "calls", "limit": 3, "window": "24h", "per": ["subject"]} if input.tool.name == "spend"

quota contains {
	"name": "total",
	"limit": 10,
	"cost": input.arguments.amount,
	"window": "24h",
	"per": ["subject"],
} if {
	input.tool.name == "spend"
}
