package console

import (
	"cmp"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

// Operator is the id of the one person there is where none is configured.
const Operator = "operator"

// people are those of the configuration.
type people struct {
	byID map[string]signin.Person
	// implied: nobody is configured, so the operator is an admin.
	implied bool
}

func newPeople(configured []signin.Person) people {
	p := people{byID: map[string]signin.Person{}, implied: len(configured) == 0}
	if p.implied {
		configured = []signin.Person{{ID: Operator, Role: signin.Admin}}
	}
	for _, c := range configured {
		c.Configured = true
		p.byID[c.ID] = c
	}
	return p
}

// named finds a person of the configuration. Without an id it is the operator.
func (p people) named(id string) (signin.Person, bool) {
	person, ok := p.byID[cmp.Or(id, Operator)]
	return person, ok
}

// Approver finds a person of the configuration who may decide on approvals, for
// those who decide elsewhere than on the pages. Without an id it is the operator.
func (c *Console) Approver(id string) (approval.Approver, bool) {
	p, ok := c.people.named(id)
	if !ok || p.Role < signin.Approver {
		return approval.Approver{}, false
	}
	return approverOf(p), true
}

func approverOf(p signin.Person) approval.Approver {
	return approval.Approver{ID: p.ID, Groups: p.Groups}
}

// now returns the person as the configuration has it now.
func (p people) now(signedIn signin.Person) (signin.Person, bool) {
	if !signedIn.Configured {
		return signedIn, signedIn.Role > signin.Nobody
	}
	current, ok := p.byID[signedIn.ID]
	return current, ok && current.Role > signin.Nobody
}
