package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

var (
	// scopeToken is the grammar of RFC 6749, section 3.3.
	scopeToken     = regexp.MustCompile(`^[\x21\x23-\x5B\x5D-\x7E]+$`)
	credentialName = regexp.MustCompile(`^[a-z0-9_-]{1,63}$`)

	errScope      = errors.New("a scope must be a string without spaces, quotation marks and backslashes, like \"payments:refund\"")
	errCredential = errors.New("a credential must be the name of one of the server's: a string of 1 to 63 of a-z, 0-9, - and _")
)

func readScope(member *ast.Term) (string, error) {
	if name, ok := stringOf(member); ok && scopeToken.MatchString(name) {
		return name, nil
	}
	return "", errScope
}

func readCredential(member *ast.Term) (string, error) {
	if name, ok := stringOf(member); ok && credentialName.MatchString(name) {
		return name, nil
	}
	return "", errCredential
}

// readLacking reads the scopes of a call whose access token lacks one of them.
func (s *Snapshot) readLacking(r *Result, members ast.Set) error {
	all, err := s.readFired(members, setScope)
	if err != nil {
		return err
	}
	for _, f := range all {
		r.Rules = append(r.Rules, f.rule)
		r.Scopes = append(r.Scopes, f.rule.Reason)
	}
	slices.Sort(r.Scopes)
	r.Scopes = slices.Compact(r.Scopes)
	if len(r.Scopes) == 0 {
		return errShape
	}
	noun := "scope"
	if len(r.Scopes) > 1 {
		noun = "scopes"
	}
	r.Reason = fmt.Sprintf("The call needs an access token with the %s %s.", noun, strings.Join(r.Scopes, ", "))
	return nil
}

// chosenCredential reads the one name that the rules give, "" where none does.
func (s *Snapshot) chosenCredential(members ast.Set) (string, error) {
	all, err := s.readFired(members, setCredential)
	if err != nil || len(all) == 0 {
		return "", err
	}
	first := all[0].rule
	for _, f := range all[1:] {
		if f.rule.Reason != first.Reason {
			return "", fmt.Errorf("the call is to carry two credentials: %q by %s:%d and %q by %s:%d",
				first.Reason, first.File, first.Line, f.rule.Reason, f.rule.File, f.rule.Line)
		}
	}
	return first.Reason, nil
}
