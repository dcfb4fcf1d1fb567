package policy.servers.stripe

import data.helpers

# METADATA
# custom: {id: equality}
allow contains "found by its name" if input.tool.name == "list_charges"

# METADATA
# custom: {id: in}
allow contains "found by its names" if input.tool.name in {"list_charges", "get_charge"}

# METADATA
# custom: {id: prefix}
allow contains "found by a prefix" if startswith(input.tool.name, "list_")

# METADATA
# custom: {id: class}
allow contains "found by its class" if {
	input.tool.class == "read"
	not endswith(input.tool.name, "_secret")
}

# METADATA
# custom: {id: message}
deny contains message if {
	input.method == "resources/read"
	message := sprintf("not %v of %v", [input.resource.uri, input.server.name])
}

# METADATA
# custom: {id: alias}
allow contains "found through a local" if {
	name := input.tool.name
	name == "get_charge"
}

# METADATA
# custom: {id: negation}
deny contains "all but one" if input.tool.name != "get_charge" # lint: not-indexed

# METADATA
# custom: {id: changed}
deny contains "lower case" if lower(input.tool.name) == "get_charge" # lint: not-indexed

# METADATA
# custom: {id: function}
deny contains "behind a function" if helpers.is_refund(input.tool.name) # lint: not-indexed

# METADATA
# custom: {id: whole}
deny contains "behind a function of the tool" if helpers.refunds(input.tool) # lint: not-indexed

# METADATA
# custom: {id: rule}
deny contains "behind a rule" if helpers.refund_tool # lint: not-indexed

# METADATA
# custom: {id: nothing}
deny contains "about whoever calls" if not "admins" in input.subject.groups
