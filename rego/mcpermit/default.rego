package mcpermit

# METADATA
# title: What becomes of a frame that no rule speaks of
# entrypoint: true
unmatched := {"effect": "allow", "members": referenced} if {
	referenced != set()
} else := {"effect": default_effect, "members": set()}

# default_effect is what becomes of a frame that no rule speaks of.
default_effect := "allow" if {
	input.method in baseline[input.context.direction]
} else := "allow" if {
	only_list_changes
} else := "hide" if {
	input.method in named
} else := "deny"

# baseline is the protocol's own housekeeping, by direction: allowed unless a
# rule says otherwise. It carries nothing that a listing or a rule of its own
# does not control: listings are filtered entry by entry.
baseline := {
	"to_server": {
		"initialize",
		"notifications/cancelled",
		"notifications/initialized",
		"notifications/progress",
		"notifications/roots/list_changed",
		"ping",
		"prompts/list",
		"resources/list",
		"resources/templates/list",
		"server/discover",
		"session/end",
		"stream/open",
		"tools/list",
	},
	"to_client": {
		"notifications/cancelled",
		"notifications/elicitation/complete",
		"notifications/message",
		"notifications/progress",
		"notifications/prompts/list_changed",
		"notifications/resources/list_changed",
		"notifications/subscriptions/acknowledged",
		"notifications/tools/list_changed",
		"ping",
	},
}

# only_list_changes holds for a subscriptions/listen that asks for nothing but
# to hear of changed lists. One that names resources or tasks needs a rule.
only_list_changes if {
	input.method == "subscriptions/listen"
	every kind, wanted in input.arguments.notifications {
		kind in {"promptsListChanged", "resourcesListChanged", "toolsListChanged"}
		is_boolean(wanted)
	}
}

# named are the methods whose target a listing could name. Without a rule the
# target does not exist for the subject.
named := {
	"completion/complete",
	"notifications/resources/updated",
	"prompts/get",
	"resources/read",
	"resources/subscribe",
	"resources/unsubscribe",
	"tools/call",
}
