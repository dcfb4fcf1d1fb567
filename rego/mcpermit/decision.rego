# METADATA
# title: Policy library
# description: |
#   Gathers what the authors' packages say and combines it: data.mcpermit.decision
#   for a frame, data.mcpermit.listing for an entry of a listing. These are what
#   decides, by definition; to be fast, the program asks the authors' sets itself,
#   in the same order, and the library only for data.mcpermit.unmatched, and for
#   data.mcpermit.explanation when a person wants to know why.
package mcpermit

# METADATA
# title: What becomes of a frame
# description: |
#   hide > deny > approve > allow > the default of the method. `members` are the
#   members of the set that won, and is empty when the default applies.
# entrypoint: true
decision := {"effect": "hide", "members": hide, "mask": mask} if {
	hide != set()
} else := {"effect": "deny", "members": deny, "mask": mask} if {
	deny != set()
} else := {"effect": "approve", "members": approve, "mask": mask, "quota": quota} if {
	approve != set()
} else := {"effect": "allow", "members": allow, "mask": mask, "quota": quota} if {
	allow != set()
} else := object.union(unmatched, {"mask": mask, "quota": quota})

# METADATA
# title: What becomes of a frame that no rule speaks of
# entrypoint: true
unmatched := {"effect": "allow", "members": referenced} if {
	referenced != set()
} else := {"effect": default_effect, "members": set()}

# METADATA
# title: Everything that fired
# description: Every set, whichever won, and the decision itself.
# entrypoint: true
explanation := {
	"decision": decision,
	"hide": hide,
	"deny": deny,
	"approve": approve,
	"allow": allow,
}

hide contains member if some member in data.policy.global[_].hide

hide contains member if some member in data.policy.servers[input.server.name].hide

deny contains member if some member in data.policy.global[_].deny

deny contains member if some member in data.policy.servers[input.server.name].deny

approve contains member if some member in data.policy.global[_].approve

approve contains member if some member in data.policy.servers[input.server.name].approve

allow contains member if some member in data.policy.global[_].allow

allow contains member if some member in data.policy.servers[input.server.name].allow

quota contains member if some member in data.policy.global[_].quota

quota contains member if some member in data.policy.servers[input.server.name].quota

mask contains pointer if some pointer in data.policy.global[_].mask

mask contains pointer if some pointer in data.policy.servers[input.server.name].mask
