package policy.global.all

allow contains "everything"
