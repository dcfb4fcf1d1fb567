package stripe

deny contains "outside policy" if input.tool.name == "a" # lint: unknown-effect

limit contains 3 if input.tool.name == "a"
