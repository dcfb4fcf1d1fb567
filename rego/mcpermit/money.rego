package mcpermit

# METADATA
# title: An amount
# description: |
#   The amount itself when it is a number that is not negative, and undefined
#   for everything else. Rego orders null and booleans below all numbers, so
#   that `null <= 100` is true: bound an amount as money(x) <= 100.
money(amount) := amount if {
	is_number(amount)
	amount >= 0
}
