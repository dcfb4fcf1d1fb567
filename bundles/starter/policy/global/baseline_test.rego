package policy.global.baseline_test

import data.mcpermit

frame(method) := {"server": {"name": "any"}, "method": method, "context": {"direction": "to_server"}}

effect(method) := decided if decided := mcpermit.decision.effect with input as frame(method)

test_log_level_is_allowed if effect("logging/setLevel") == "allow"

test_housekeeping_is_allowed if {
	every method in ["initialize", "ping", "tools/list", "server/discover"] {
		effect(method) == "allow"
	}
}

test_other_methods_are_not if {
	effect("tasks/list") == "deny"
	effect("vendor/anything") == "deny"
	effect("sampling/createMessage") == "deny"
	effect("resources/read") == "hide"
}
