package mcpermit

# What the authors' packages say. hide, deny, approve and allow are the policy's
# own; what attachments say of these stands apart, as it can only narrow. The other
# sets are those of all packages together.

hide contains member if some member in data.policy.global[_].hide

hide contains member if some member in data.policy.servers[input.server.name].hide

deny contains member if some member in data.policy.global[_].deny

deny contains member if some member in data.policy.servers[input.server.name].deny

approve contains member if some member in data.policy.global[_].approve

approve contains member if some member in data.policy.servers[input.server.name].approve

allow contains member if some member in data.policy.global[_].allow

allow contains member if some member in data.policy.servers[input.server.name].allow

credential contains member if some member in data.policy.global[_].credential

credential contains member if some member in data.policy.servers[input.server.name].credential

attached_hide contains member if some member in data.policy.attachments[input.grant.policies[_]].hide

attached_deny contains member if some member in data.policy.attachments[input.grant.policies[_]].deny

attached_approve contains member if some member in data.policy.attachments[input.grant.policies[_]].approve

scope contains member if some member in data.policy.global[_].scope

scope contains member if some member in data.policy.servers[input.server.name].scope

scope contains member if some member in data.policy.attachments[input.grant.policies[_]].scope

quota contains member if some member in data.policy.global[_].quota

quota contains member if some member in data.policy.servers[input.server.name].quota

quota contains member if some member in data.policy.attachments[input.grant.policies[_]].quota

mask contains pointer if some pointer in data.policy.global[_].mask

mask contains pointer if some pointer in data.policy.servers[input.server.name].mask

mask contains pointer if some pointer in data.policy.attachments[input.grant.policies[_]].mask

# unknown are the attachments of the grant that the policy does not have. The
# program knows those that it has when it loads a bundle; outside of it, none is
# unknown.
unknown contains name if {
	known := data.mcpermit["attachments/known"]
	some name in input.grant.policies
	not name in known
}
