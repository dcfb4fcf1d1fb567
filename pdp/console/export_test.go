package console

import (
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

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

// SetTryTime bounds what is tried in this test.
func SetTryTime(t *testing.T, d time.Duration) {
	before := tryTime
	tryTime = d
	t.Cleanup(func() { tryTime = before })
}

// HoldTries takes a person's place in the playground until it is released. A try
// that was given up may have to end first.
func HoldTries(c *Console, person string) (release func()) {
	for deadline := time.Now().Add(30 * time.Second); c.tries.enter(person) != nil; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			panic("the try of " + person + " does not end")
		}
	}
	return func() { c.tries.leave(person) }
}
