package policy.global.team

default allow := true # lint: default-allow
