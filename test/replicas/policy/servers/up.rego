# METADATA
# description: One tool is free to use, one is counted by calls and by amount, one needs a
#   person, and the destructive ones are hidden.
package policy.servers.up

allow contains "Free." if input.tool.name == "look"

allow contains "Counted." if input.tool.name == "spend"

hide contains "Not for agents." if input.tool.class == "destructive"

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
