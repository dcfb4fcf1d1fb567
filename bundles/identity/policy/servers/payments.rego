# METADATA
# title: Payments, by access token
# description: |
#   Who comes with an access token of an authorization server needs its scopes, and
#   what only reads goes upstream with a credential that can only read.
package policy.servers.payments

# METADATA
# title: What there is
# custom: {id: payments}
allow contains "Payments are for staff and their agents." if {
	input.tool.name in {"get_charge", "create_refund"}
	"staff" in input.subject.groups
}

# Grants are narrow already, and their tokens have no scopes.

# METADATA
# title: Refunds by access token
# custom: {id: refund-scope}
scope contains "payments:refund" if {
	input.tool.name == "create_refund"
	input.subject.issuer != ""
}

# `read-only` is one of the server's `credentials` in the configuration. All else
# carries the server's default.
credential contains "read-only" if input.tool.class == "read"

credential contains "read-only" if input.method == "tools/list"
