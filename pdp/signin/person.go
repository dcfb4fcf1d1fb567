package signin

import (
	"fmt"
	"slices"
)

// Role is what a person may do here. Each may what the one before may.
type Role uint8

// The roles. The zero value may nothing.
const (
	Nobody   Role = iota
	Viewer        // looks
	Approver      // decides on approvals
	Admin         // grants, servers and quotas
)

var roleNames = [...]string{"nobody", "viewer", "approver", "admin"}

// ParseRole reads a role's name; without one it is Approver.
func ParseRole(name string) (Role, error) {
	if name == "" {
		return Approver, nil
	}
	i := slices.Index(roleNames[:], name)
	if i <= 0 {
		return Nobody, fmt.Errorf("role %q is none of viewer, approver, admin", name)
	}
	return Role(i), nil
}

func (r Role) String() string {
	if int(r) >= len(roleNames) {
		return roleNames[Nobody]
	}
	return roleNames[r]
}

// MarshalText implements encoding.TextMarshaler.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler. What it does not know may
// nothing.
func (r *Role) UnmarshalText(b []byte) error {
	*r = Role(max(slices.Index(roleNames[:], string(b)), 0))
	return nil
}

// Person is who may sign in.
type Person struct {
	ID     string   `json:"id"`
	Name   string   `json:"name,omitempty"`
	Groups []string `json:"groups,omitempty"`
	Role   Role     `json:"role"`
	// Configured persons are looked up at every request, so that their removal
	// or a lower role takes effect at once. Others are as their provider said
	// when they signed in.
	Configured bool `json:"configured,omitempty"`
}

// Shown is what the person is called on a page.
func (p Person) Shown() string {
	if p.Name != "" {
		return p.Name
	}
	return p.ID
}

// May reports whether the person has the role, by name; for templates.
func (p Person) May(role string) bool {
	least, err := ParseRole(role)
	return err == nil && p.Role >= least
}
