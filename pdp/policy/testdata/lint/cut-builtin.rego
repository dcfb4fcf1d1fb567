package policy.global.team

# METADATA
# custom: {id: a}
deny contains "asks the network" if {
	input.method == "tools/call"
	http.send({"method": "GET", "url": "https://example.com"}).status_code == 200 # lint: cut-builtin
}

# METADATA
# custom: {id: b}
deny contains "reads the clock" if time.now_ns() > 0 # lint: cut-builtin

# METADATA
# custom: {id: c}
deny contains "takes the time of the frame" if time.parse_rfc3339_ns(input.context.time) > 0
