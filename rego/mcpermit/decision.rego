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
#   hide > deny > a scope that is lacking > approve > allow > the default of the
#   method. `members` are the members of the set that won, and is empty when the
#   default applies, or when scopes are lacking. Whatever may pass has `scope`,
#   `quota` and `credential`.
# entrypoint: true
decision := {"effect": "deny", "members": set(), "lacking": lacking, "scope": scope, "mask": mask} if {
	may_pass
	lacking != set()
} else := object.union(verdict, {"mask": mask, "scope": scope, "quota": quota, "credential": credential}) if {
	may_pass
} else := object.union(verdict, {"mask": mask})

may_pass if verdict.effect in {"approve", "allow"}

# verdict is the stricter of what the policy says by itself and of what the
# attachments of the grant say.
verdict := {"effect": "hide", "members": (own.members | attached_hide)} if {
	own.effect == "hide"
} else := {"effect": "hide", "members": attached_hide} if {
	attached_hide != set()
} else := {"effect": "deny", "members": (own.members | attached_deny), "unknown": unknown} if {
	own.effect == "deny"
} else := {"effect": "deny", "members": attached_deny, "unknown": unknown} if {
	attached_refusal
} else := {"effect": "approve", "members": (own.members | attached_approve)} if {
	own.effect == "approve"
} else := {"effect": "approve", "members": attached_approve} if {
	attached_approve != set()
} else := own

attached_refusal if attached_deny != set()

attached_refusal if unknown != set()

# own is what the policy says by itself.
own := {"effect": "hide", "members": hide} if {
	hide != set()
} else := {"effect": "deny", "members": deny} if {
	deny != set()
} else := {"effect": "approve", "members": approve} if {
	approve != set()
} else := {"effect": "allow", "members": allow} if {
	allow != set()
} else := unmatched

# lacking are the scopes that the call needs and the access token does not have.
# Whoever has come without an access token has none.
lacking := {scope_name(member) | some member in scope} - {name | some name in input.subject.scopes}

# The program labels the members of a set with the rule that gave them.
scope_name(member) := member[1] if {
	is_array(member)
} else := member

# METADATA
# title: Everything that fired
# description: Every set, whichever won, and the decision itself.
# entrypoint: true
explanation := {
	"decision": decision,
	"hide": (hide | attached_hide),
	"deny": (deny | attached_deny),
	"approve": (approve | attached_approve),
	"allow": allow,
	"scope": scope,
	"credential": credential,
}
