package policy.attachments.reading_test

import data.mcpermit

under(policies, tool, class) := decision if {
	decision := mcpermit.decision with input as {
		"subject": {"id": "bot", "issuer": "", "groups": ["staff"], "scopes": []},
		"grant": {"id": "g", "policies": policies},
		"server": {"name": "payments"},
		"method": "tools/call",
		"tool": {"name": tool, "class": class},
		"context": {"direction": "to_server"},
	}
}

test_refund_is_refused_under_the_grant_alone if {
	under([], "create_refund", "financial").effect == "allow"
	under(["reading"], "create_refund", "financial").effect == "deny"
}

test_reading_is_counted if {
	decision := under(["reading"], "get_charge", "read")
	decision.effect == "allow"
	count(decision.quota) == 1
}

test_attachment_opens_nothing if {
	under(["reading"], "delete_customer", "read").effect == "hide"
}
