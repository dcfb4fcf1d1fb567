package policy.global.all

allow contains "everything" if true
