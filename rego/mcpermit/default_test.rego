package mcpermit_test

import data.mcpermit

default_of(method, direction) := decision if {
	decision := mcpermit.decision with input as {
		"server": {"name": "s"},
		"method": method,
		"context": {"direction": direction},
	}
		with data.policy as {}
}

test_baseline_is_allowed_by_default if {
	every direction, methods in mcpermit.baseline {
		every method in methods {
			default_of(method, direction) == {
				"effect": "allow", "members": set(), "mask": set(),
				"scope": set(), "quota": set(), "credential": set(),
			}
		}
	}
}

test_baseline_has_a_direction if {
	default_of("initialize", "to_client").effect == "deny"
	default_of("notifications/message", "to_server").effect == "deny"
	default_of("ping", "to_client").effect == "allow"
	default_of("ping", "sideways").effect == "deny"
}

test_baseline_can_be_denied if {
	decision := mcpermit.decision with input as {"server": {"name": "s"}, "method": "ping", "context": {"direction": "to_server"}}
		with data.policy.global as {"team": {"deny": {"no"}}}
	decision.effect == "deny"
}

test_what_a_listing_names_is_hidden_by_default if {
	every method in [
		"completion/complete", "notifications/resources/updated", "prompts/get", "resources/read",
		"resources/subscribe", "resources/unsubscribe", "tools/call",
	] {
		default_of(method, "to_server").effect == "hide"
	}
}

test_everything_else_is_denied_by_default if {
	every direction in ["to_server", "to_client"] {
		every method in [
			"", "Ping", "ping ", "elicitation/create", "logging/setLevel", "notifications/roots/list_changed/x", "roots/list",
			"sampling/createMessage", "subscriptions/listen", "tasks/get", "tools/call/", "vendor/x",
		] {
			default_of(method, direction).effect == "deny"
		}
	}
}

listen(params) := decision.effect if {
	decision := mcpermit.decision with input as {
		"server": {"name": "s"},
		"method": "subscriptions/listen",
		"arguments": params,
		"context": {"direction": "to_server"},
	}
}

test_listening_for_changed_lists_is_allowed if {
	listen({"notifications": {}}) == "allow"
	listen({"_meta": {}, "notifications": {"toolsListChanged": true, "promptsListChanged": false, "resourcesListChanged": true}}) == "allow"
}

test_listening_for_more_needs_a_rule if {
	every params in [
		{},
		{"notifications": null},
		{"notifications": "toolsListChanged"},
		{"notifications": {"toolsListChanged": {"resourceSubscriptions": []}}},
		{"notifications": {"toolsListChanged": true, "resourceSubscriptions": ["file:///a"]}},
		{"notifications": {"taskIds": ["1"]}},
	] {
		listen(params) == "deny"
	}
}

test_money_is_a_number_that_is_not_negative if {
	every amount in [0, 0.01, 9007199254740993] {
		mcpermit.money(amount) == amount
	}
	every amount in [-1, -0.01, null, true, "5", [5], {}] {
		not mcpermit.money(amount)
	}
}
