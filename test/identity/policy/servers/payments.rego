package policy.servers.payments

allow contains "Members may use it" if "staff" in input.subject.groups

hide contains "Not offered" if input.tool.name == "delete_customer"

# METADATA
# title: Refunds need a scope of their own
# custom: {id: refund-scope}
scope contains "payments:refund" if input.tool.name == "create_refund"
