package policy.servers.payments_test

import data.mcpermit

call(tool, class, scopes) := {
	"subject": {"id": "ann", "issuer": "https://id.example.com", "groups": ["staff"], "scopes": scopes},
	"server": {"name": "payments"},
	"method": "tools/call",
	"tool": {"name": tool, "class": class},
	"context": {"direction": "to_server"},
}

decided(frame) := decision if decision := mcpermit.decision with input as frame

test_refund_needs_its_scope if {
	refused := decided(call("create_refund", "financial", ["payments:read"]))
	refused.effect == "deny"
	refused.lacking == {"payments:refund"}
	allowed := decided(call("create_refund", "financial", ["payments:refund"]))
	allowed.effect == "allow"
	allowed.credential == set()
}

test_grant_token_needs_no_scope if {
	decided(object.union(call("create_refund", "financial", []), {"subject": {"issuer": ""}})).effect == "allow"
}

test_scope_opens_nothing if {
	decided(object.union(call("create_refund", "financial", ["payments:refund"]), {"subject": {"groups": []}})).effect == "hide"
}

test_reading_carries_the_credential_that_can_only_read if {
	decided(call("get_charge", "read", [])).credential == {"read-only"}
	decided({"server": {"name": "payments"}, "method": "tools/list", "context": {"direction": "to_server"}}).credential == {"read-only"}
}
