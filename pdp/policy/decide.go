package policy

import (
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// course is what one frame is decided by beside the document that rules see. It
// keeps nothing of the caller's.
type course struct {
	*plan
	unknown []string // attachments of its grant that the policy does not have
	scopes  []string // of its access token
}

func (s *Snapshot) courseOf(in *Input) course {
	p, unknown := s.plans.of(in.Server.Name, in.Grant)
	c := course{plan: p, unknown: unknown}
	if p.scope != nil {
		c.scopes = slices.Clone(in.Subject.Scopes)
	}
	return c
}

// decide walks the plan as the library's `decision` does.
func (s *Snapshot) decide(ev *evaluation, c course) (Result, error) {
	if err := ev.askAhead(c.decision); err != nil {
		return Result{}, err
	}
	a := answer{}
	err := s.own(ev, c, &a)
	if err == nil {
		err = c.narrow(ev, &a)
	}
	if err == nil && a.mayPass() {
		err = c.qualify(ev, &a)
	}
	if err == nil {
		a.mask, err = ev.members(c.mask)
	}
	if err != nil {
		return Result{}, err
	}
	return s.read(a)
}

// own is what the policy says by itself: the strictest set that has members, or
// what the library makes of a frame that no rule speaks of.
func (s *Snapshot) own(ev *evaluation, c course, a *answer) (err error) {
	for i, q := range c.own {
		a.effect = strictness[i]
		if a.members, err = ev.members(q); err != nil || a.members.Len() > 0 {
			return err
		}
	}
	value, err := ev.value(s.unmatched)
	if err != nil {
		return err
	}
	object, ok := value.(ast.Object)
	if !ok {
		return errShape
	}
	return a.verdict(object)
}

// narrow takes the stricter of the policy's own answer and that of the attachments.
func (c course) narrow(ev *evaluation, a *answer) error {
	for i, q := range c.attached {
		effect := strictness[i]
		members, err := ev.members(q)
		if err != nil {
			return err
		}
		if effect == Deny {
			a.unknown = c.unknown
		}
		switch {
		case effect == a.effect:
			a.members = union(a.members, members)
			return nil
		case members.Len() > 0, effect == Deny && len(c.unknown) > 0:
			a.effect, a.members = effect, members
			return nil
		}
	}
	return nil
}

// qualify finds out what else holds for a call that may pass.
func (c course) qualify(ev *evaluation, a *answer) (err error) {
	if a.scope, err = ev.members(c.scope); err != nil {
		return err
	}
	if lacks(a.scope, c.scopes) {
		a.effect, a.members, a.lacking = Deny, noMembers, true
		return nil
	}
	if a.quota, err = ev.members(c.quota); err != nil {
		return err
	}
	a.credential, err = ev.members(c.credential)
	return err
}

// lacks says whether there are labelled scopes in needed that are not in has. What
// is no scope at all is lacking.
func lacks(needed ast.Set, has []string) bool {
	if needed.Len() == 0 {
		return false
	}
	lacking := false
	needed.Foreach(func(member *ast.Term) {
		labelled, ok := member.Value.(*ast.Array)
		if !ok || labelled.Len() != 2 {
			lacking = true
			return
		}
		name, ok := stringOf(labelled.Elem(1))
		lacking = lacking || !ok || !slices.Contains(has, name)
	})
	return lacking
}

// lists walks the plan as the library's `listing` does.
func (c course) lists(ev *evaluation) (bool, error) {
	if len(c.unknown) > 0 {
		return false, nil
	}
	if err := ev.askAhead(c.listing); err != nil {
		return false, err
	}
	for _, q := range [...]*question{c.own[0], c.attached[0], c.never} {
		if members, err := ev.members(q); err != nil || members.Len() > 0 {
			return false, err
		}
	}
	members, err := ev.members(c.callable)
	return err == nil && members.Len() > 0, err
}
