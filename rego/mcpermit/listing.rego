package mcpermit

# The sets that are read here are made by the program when it loads a bundle,
# from the authors' rules: "listing/callable" holds the allow and approve rules
# without what depends on the arguments, "listing/never" the deny rules that do
# not depend on them. Outside the program they are empty. Attachments take things
# off the list and never put any on it; where one that the grant names is unknown,
# nothing is listed. `scope` takes nothing off: a client has to see what it could
# get the scopes for.

# METADATA
# title: Whether something is listed
# description: |
#   Asked with the method of the call, its target and no arguments. The effect
#   is allow exactly when some call could still be allowed or approved, with the
#   scopes that it needs.
# entrypoint: true
listing := {"effect": "hide", "members": set()} if {
	hide != set()
} else := {"effect": "hide", "members": set()} if {
	attached_hide != set()
} else := {"effect": "hide", "members": set()} if {
	unknown != set()
} else := {"effect": "deny", "members": set()} if {
	never != set()
} else := {"effect": "allow", "members": callable} if {
	callable != set()
} else := {"effect": "hide", "members": set()}

never contains member if some member in data.policy.global[_]["listing/never"]

never contains member if some member in data.policy.servers[input.server.name]["listing/never"]

never contains member if some member in data.policy.attachments[input.grant.policies[_]]["listing/never"]

callable contains member if some member in data.policy.global[_]["listing/callable"]

callable contains member if some member in data.policy.servers[input.server.name]["listing/callable"]

# referenced are the rules under which what a frame refers to is listed. Such a
# frame is decided as what it refers to where no rule speaks of it itself.
referenced := members if {
	listed := listing with input.method as refers_to
	members := listed.members
}

refers_to := "prompts/get" if {
	input.method == "completion/complete"
	input.prompt
} else := "resources/read" if {
	input.method in {"completion/complete", "notifications/resources/updated"}
	input.resource
}
