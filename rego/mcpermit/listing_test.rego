package mcpermit_test

import data.mcpermit

# The program makes these sets when it loads a bundle.
callable := {"listing/callable": {[0]}}

never := {"listing/never": {[1]}}

listed(of_global, of_servers) := listing if {
	listing := mcpermit.listing with input as frame
		with data.policy.global as of_global
		with data.policy.servers as of_servers
}

test_listed_when_some_call_could_pass if {
	listed({}, {"s": callable}) == {"effect": "allow", "members": {[0]}}
	listed({"team": callable}, {}) == {"effect": "allow", "members": {[0]}}
}

test_not_listed_without_a_rule if {
	listed({}, {}).effect == "hide"
	listed({}, {"other": callable}).effect == "hide"
	listed({}, {"s": only(["allow", "approve"])}).effect == "hide"
}

test_not_listed_when_every_call_is_denied if {
	listed({}, {"s": object.union(callable, never)}).effect == "deny"
	listed({"team": never}, {"s": callable}).effect == "deny"
}

test_not_listed_when_hidden if {
	listed({}, {"s": object.union(callable, only(["hide"]))}).effect == "hide"
	listed({"team": only(["hide"])}, {"s": object.union(callable, never)}).effect == "hide"
}

reference(method, target, of_servers) := decision if {
	decision := mcpermit.decision with input as object.union(target, {
		"server": {"name": "s"},
		"method": method,
		"context": {"direction": "to_server"},
	})
		with data.policy.servers as of_servers
}

test_reference_is_decided_as_what_it_refers_to if {
	every referring in [
		["completion/complete", {"prompt": {"name": "p"}}],
		["completion/complete", {"resource": {"uri": "file:///{x}"}}],
		["notifications/resources/updated", {"resource": {"uri": "file:///x"}}],
	] {
		[method, target] := referring
		reference(method, target, {"s": callable}).effect == "allow"
		reference(method, target, {"s": callable}).members == {[0]}
		reference(method, target, {"s": object.union(callable, never)}).effect == "hide"
		reference(method, target, {}).effect == "hide"
	}
}

test_reference_has_the_method_of_what_it_refers_to if {
	mcpermit.refers_to == "prompts/get" with input as {"method": "completion/complete", "prompt": {"name": "p"}}
	mcpermit.refers_to == "resources/read" with input as {"method": "completion/complete", "resource": {"uri": "file:///x"}}
}

test_reference_can_have_rules_of_its_own if {
	completion := ["completion/complete", {"prompt": {"name": "p"}}]
	reference(completion[0], completion[1], {"s": object.union(callable, only(["deny"]))}).effect == "deny"
	reference(completion[0], completion[1], {"s": object.union(callable, only(["approve"]))}).effect == "approve"
}

test_only_references_are_decided_so if {
	every method in ["prompts/get", "resources/read", "resources/subscribe", "tools/call"] {
		reference(method, {"prompt": {"name": "p"}, "resource": {"uri": "file:///x"}}, {"s": callable}).effect == "hide"
	}
	reference("completion/complete", {}, {"s": callable}).effect == "hide"
}

test_scope_takes_nothing_off_the_list if {
	listed({}, {"s": object.union(callable, only(["scope"]))}).effect == "allow"
}
