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
	"scope": {"s:call"},
	"quota": {{"name": "q"}},
	"credential": {"c"},
	"mask": {"/m"},
}

only(names) := object.filter(all_sets, names)

decided(of_global, of_servers) := decision if {
	decision := mcpermit.decision with input as frame
		with input.subject.scopes as ["s:call"]
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
		"scope": {"s:call"},
		"credential": {"c"},
	}
}

test_scope_and_credential_are_given_with_what_may_pass if {
	every name in ["approve", "allow"] {
		decision := decided({"team": {"credential": {"g"}}}, {"s": only([name, "scope", "credential"])})
		decision.effect == name
		decision.scope == {"s:call"}
		decision.credential == {"c", "g"}
	}
	every name in ["hide", "deny"] {
		decision := decided({}, {"s": only([name, "scope", "credential"])})
		not decision.scope
		not decision.credential
	}
}

with_scopes(scopes, of_servers) := decision if {
	decision := mcpermit.decision with input as object.union(frame, {"subject": {"scopes": scopes}})
		with data.policy.servers as of_servers
}

test_scope_that_is_lacking_denies_what_may_pass if {
	every name in ["approve", "allow"] {
		with_scopes(["other"], {"s": only([name, "scope", "mask"])}) == {
			"effect": "deny",
			"members": set(),
			"lacking": {"s:call"},
			"scope": {"s:call"},
			"mask": {"/m"},
		}
	}
	every name in ["hide", "deny"] {
		decision := with_scopes([], {"s": only([name, "scope"])})
		decision.effect == name
		decision.members == all_sets[name]
		not decision.lacking
	}
	with_scopes([], {"s": only(["scope"])}) == {"effect": "hide", "members": set(), "mask": set()}
}

test_scopes_of_all_packages_are_needed if {
	sets := {"s": {"allow": {"al"}, "scope": {"a", "b"}}}
	with_scopes(["b", "a"], sets).effect == "allow"
	with_scopes(["a"], sets).lacking == {"b"}
	with_scopes(["a"], sets).scope == {"a", "b"}
}

test_scope_is_lacking_without_an_access_token if {
	decision := mcpermit.decision with input as frame with data.policy.servers as {"s": only(["allow", "scope"])}
	decision.lacking == {"s:call"}
}

test_scope_is_read_behind_its_label if {
	sets := {"s": {"allow": {"al"}, "scope": {[7, "a"]}}}
	with_scopes(["a"], sets).effect == "allow"
	with_scopes(["b"], sets).lacking == {"a"}
}
