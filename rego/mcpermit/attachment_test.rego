package mcpermit_test

import data.mcpermit

# under decides the frame under a grant with the attachments, where the policy's
# own answer is `of_server`.
under(of_server, attachments) := decision if {
	decision := mcpermit.decision with input as object.union(frame, {
		"subject": {"scopes": ["s:call"]},
		"grant": {"policies": object.keys(attachments) | {"z"}},
	})
		with data.policy.servers as {"s": of_server}
		with data.policy.attachments as object.union(attachments, {"z": {}, "not_named": all_sets})
}

test_stricter_of_policy_and_attachment_wins if {
	order := ["hide", "deny", "approve", "allow"]
	every i, own in order {
		every j, attached in ["hide", "deny", "approve"] {
			decision := under(only([own]), {"x": {attached: {"attached"}}})
			decision.effect == order[min({i, j})]
			of_own := {member | some member in all_sets[own]; i <= j}
			of_attached := {member | some member in ["attached"]; j <= i}
			decision.members == union({of_own, of_attached})
		}
	}
}

test_attachment_opens_nothing if {
	under({}, {"x": only(["approve", "allow"])}).effect == "hide"
	under({}, {"x": only(["deny"])}).effect == "hide"
	under(only(["approve"]), {"x": only(["allow"])}).effect == "approve"
	under(only(["allow"]), {"x": only(["credential"])}).credential == set()
}

test_attachment_narrows_the_default if {
	initialize := {"server": {"name": "s"}, "method": "initialize", "context": {"direction": "to_server"}, "grant": {"policies": ["x"]}}
	every name in ["hide", "deny", "approve"] {
		decision := mcpermit.decision with input as initialize with data.policy.attachments as {"x": only([name])}
		decision.effect == name
	}
}

test_attachments_add_scopes_quotas_and_masks if {
	decision := under(only(["allow", "quota"]), {
		"x": {"quota": {{"name": "x"}}, "mask": {"/x"}},
		"y": {"quota": {{"name": "y"}}, "mask": {"/y"}, "scope": {"s:call"}},
	})
	decision.effect == "allow"
	decision.quota == {{"name": "q"}, {"name": "x"}, {"name": "y"}}
	decision.mask == {"/x", "/y"}
	decision.scope == {"s:call"}
	under(only(["allow"]), {"x": {"scope": {"other"}}}).lacking == {"other"}
}

test_attachments_hold_only_under_a_grant_that_names_them if {
	decision := mcpermit.decision with input as object.union(frame, {"grant": null})
		with data.policy.servers as {"s": only(["allow"])}
		with data.policy.attachments as {"x": only(["deny"])}
	decision.effect == "allow"
}

unknown_under(of_server) := decision if {
	decision := mcpermit.decision with input as object.union(frame, {"grant": {"policies": ["gone", "x"]}})
		with data.policy.servers as {"s": of_server}
		with data.mcpermit["attachments/known"] as {"x"}
}

test_unknown_attachment_is_denied if {
	unknown_under(only(["allow"])) == {"effect": "deny", "members": set(), "unknown": {"gone"}, "mask": set()}
	unknown_under(only(["approve"])).effect == "deny"
	unknown_under(only(["deny"])).members == {"d"}
	unknown_under(only(["hide"])).effect == "hide"
	unknown_under({}).effect == "hide"
}

listed_under(attachments) := listing.effect if {
	listing := mcpermit.listing with input as object.union(frame, {"grant": {"policies": object.keys(attachments)}})
		with data.policy.servers as {"s": callable}
		with data.policy.attachments as attachments
		with data.mcpermit["attachments/known"] as {"x", "y"}
}

test_attachments_take_things_off_the_list if {
	listed_under({}) == "allow"
	listed_under({"x": only(["deny", "approve", "scope"])}) == "allow"
	listed_under({"x": only(["hide"])}) == "hide"
	listed_under({"x": {}, "y": never}) == "deny"
	listed_under({"x": {}, "gone": {}}) == "hide"
}

test_attachments_put_nothing_on_the_list if {
	listing := mcpermit.listing with input as object.union(frame, {"grant": {"policies": ["x"]}})
		with data.policy.attachments as {"x": callable}
	listing.effect == "hide"
}
