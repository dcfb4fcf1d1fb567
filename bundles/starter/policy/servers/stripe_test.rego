package policy.servers.stripe_test

import data.mcpermit
import data.policy.servers.stripe

call(tool, arguments) := {
	"server": {"name": "stripe"},
	"method": "tools/call",
	"tool": {"name": tool, "class": "unknown"},
	"arguments": arguments,
	"context": {"direction": "to_server"},
}

refund(amount) := call("create_refund", {"charge_id": "ch_105", "amount": amount})

effect(frame) := decided if decided := mcpermit.decision.effect with input as frame

test_refund_within_the_limit_is_allowed if {
	effect(refund(5000)) == "allow"
	effect(refund(0.01)) == "allow"
	effect(refund(10000)) == "allow"
}

test_refund_over_the_limit_is_denied_and_told_why if {
	decision := mcpermit.decision with input as refund(500000)
	decision.effect == "deny"
	decision.members == {"Refund exceeds the policy limit."}
	effect(refund(50000.01)) == "deny"
}

test_larger_refund_needs_a_person if {
	effect(refund(10000.01)) == "approve"
	effect(refund(50000)) == "approve"
	some request in stripe.approve with input as refund(50000)
	request.approvers == ["group:finance"]
}

test_amount_that_is_none_is_not_allowed if {
	every amount in [0, -1, null, true, false, [], {}, "5000", "", ["5000"]] {
		not "Refunds within the limit are allowed." in stripe.allow with input as refund(amount)
		effect(refund(amount)) != "allow"
	}
	effect(call("create_refund", {"charge_id": "ch_105"})) == "hide"
}

test_refunds_are_counted_by_number_and_amount if {
	quotas := stripe.quota with input as refund(5000)
	{[q.name, q.per, object.get(q, "cost", 1)] | some q in quotas} == {
		["refunds-per-day", ["grant"], 1],
		["refund-total-per-day", ["subject"], 5000],
	}
	stripe.quota == set() with input as call("get_balance", {})
}

test_reading_is_allowed if {
	effect(call("list_charges", {})) == "allow"
	effect(call("get_balance", {})) == "allow"
}

test_destructive_tool_is_hidden if {
	decision := mcpermit.decision with input as call("delete_customer", {"customer_id": "cus_1"})
	decision.effect == "hide"
	decision.members == {"Not offered to agents."}
}

test_tool_that_nobody_spoke_of_is_hidden if {
	decision := mcpermit.decision with input as call("transfer_everything", {})
	decision.effect == "hide"
	decision.members == set()
}

test_rules_hold_for_this_server_alone if {
	elsewhere := object.union(refund(5000), {"server": {"name": "other"}})
	effect(elsewhere) == "hide"
}
