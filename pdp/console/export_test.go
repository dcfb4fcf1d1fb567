package console

import "github.com/mcpermit/mcpermit/pdp/signin"

// Route is what tests hold of a route.
type Route struct {
	Pattern string
	Least   signin.Role
}

// Routes are all of the console's.
func (c *Console) Routes() []Route {
	var out []Route
	for _, r := range c.routes() {
		out = append(out, Route{r.pattern, r.least})
	}
	return out
}

// Local is local.
func Local(path string) string { return local(path) }

// FormToken is formToken.
func FormToken(secret string) string { return formToken(secret) }
