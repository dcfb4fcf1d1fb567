package mcpermit_test

import data.mcpermit

frame := {
	"server": {"name": "s"},
	"method": "tools/call",
	"tool": {"name": "t"},
	"context": {"direction": "to_server"},
}

all_sets := {
	"hide": {"h"},
	"deny": {"d"},
	"approve": {"ap"},
	"allow": {"al"},
	"quota": {{"name": "q"}},
	"mask": {"/m"},
}

only(names) := object.filter(all_sets, names)

decided(of_global, of_servers) := decision if {
	decision := mcpermit.decision with input as frame
		with data.policy.global as of_global
		with data.policy.servers as of_servers
}

test_stricter_effect_wins if {
	decided({}, {"s": all_sets}).effect == "hide"
	decided({}, {"s": only(["deny", "approve", "allow"])}).effect == "deny"
	decided({}, {"s": only(["approve", "allow"])}).effect == "approve"
	decided({}, {"s": only(["allow"])}).effect == "allow"
	decided({}, {"s": only([])}).effect == "hide"
}

test_every_effect_holds_alone_wherever_it_stands if {
	every name in ["hide", "deny", "approve", "allow"] {
		decided({"team": only([name])}, {}) == decided({}, {"s": only([name])})
		decided({"team": only([name])}, {}).effect == name
		decided({"team": only([name])}, {}).members == all_sets[name]
	}
}

test_members_of_all_packages_are_gathered if {
	decision := decided({"a": {"deny": {"one"}}, "b": {"deny": {"two"}}}, {"s": {"deny": {"three"}}})
	decision.members == {"one", "two", "three"}
}

test_other_servers_are_not_asked if {
	decision := decided({}, {"other": all_sets})
	decision.effect == "hide"
	decision.members == set()
	decision.mask == set()
}

test_mask_is_given_with_every_effect if {
	every name in ["hide", "deny", "approve", "allow"] {
		decided({"team": {"mask": {"/g"}}}, {"s": only([name, "mask"])}).mask == {"/g", "/m"}
	}
	decided({}, {"s": only(["mask"])}).mask == {"/m"}
}

test_quota_is_given_with_what_may_pass if {
	every name in ["approve", "allow"] {
		decided({"team": {"quota": {{"name": "g"}}}}, {"s": only([name, "quota"])}).quota == {{"name": "g"}, {"name": "q"}}
	}
	every name in ["hide", "deny"] {
		not decided({}, {"s": only([name, "quota"])}).quota
	}
}

test_explanation_has_what_did_not_win if {
	explanation := mcpermit.explanation with input as frame with data.policy.servers as {"s": all_sets}
	explanation == {
		"decision": {"effect": "hide", "members": {"h"}, "mask": {"/m"}},
		"hide": {"h"},
		"deny": {"d"},
		"approve": {"ap"},
		"allow": {"al"},
	}
}
