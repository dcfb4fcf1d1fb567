package policy

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The members of data.mcpermit.decision and of what authors give.
var (
	keyEffect  = ast.StringTerm("effect")
	keyMembers = ast.StringTerm("members")
	keyQuota   = ast.StringTerm("quota")
	keyMask    = ast.StringTerm("mask")

	keyReason    = ast.StringTerm("reason")
	keyApprovers = ast.StringTerm("approvers")
	keyRequired  = ast.StringTerm("required")
	keyExpires   = ast.StringTerm("expires")
	keyValid     = ast.StringTerm("valid")
)

var errShape = errors.New("the policy's answer is not a decision")

// result reads the value of data.mcpermit.decision. Whatever is not exactly
// what it must be is an error; nothing is guessed.
func (s *Snapshot) result(answer ast.Value) (Result, error) {
	object, ok := answer.(ast.Object)
	if !ok {
		return Result{}, errShape
	}
	effect, err := readEffect(object.Get(keyEffect))
	if err != nil {
		return Result{}, err
	}
	members, ok := setOf(object.Get(keyMembers))
	if !ok {
		return Result{}, errShape
	}
	r := Result{Effect: effect, Cause: CauseRule}
	if members.Len() == 0 {
		r.Cause = CauseNoMatch
	}
	if err := s.readMembers(&r, members); err != nil {
		return Result{}, err
	}
	if quotas, ok := setOf(object.Get(keyQuota)); ok {
		if r.Quotas, err = readQuotas(quotas); err != nil {
			return Result{}, err
		}
	}
	mask, ok := setOf(object.Get(keyMask))
	if !ok {
		return Result{}, errShape
	}
	r.Mask, err = readMask(mask)
	return r, err
}

func readEffect(term *ast.Term) (Effect, error) {
	name, ok := stringOf(term)
	if i := slices.Index(effectNames[:], name); ok && i >= 0 {
		return Effect(i), nil
	}
	return Deny, errShape
}

// fired is one member of an effect set with the rule that it came from.
type fired struct {
	rule     Rule
	approval Approval
}

func (s *Snapshot) readMembers(r *Result, members ast.Set) error {
	if members.Len() == 0 {
		return nil
	}
	all, err := s.readFired(members, r.Effect == Approve)
	if err != nil {
		return err
	}
	r.Rules = make([]Rule, len(all))
	for i, f := range all {
		r.Rules[i] = f.rule
		same := func(a Approval) bool {
			return a.Required == f.approval.Required && a.Expires == f.approval.Expires && a.Valid == f.approval.Valid && slices.Equal(a.Approvers, f.approval.Approvers)
		}
		if r.Effect == Approve && !slices.ContainsFunc(r.Approvals, same) {
			r.Approvals = append(r.Approvals, f.approval)
		}
	}
	r.Reason = r.Rules[0].Reason
	return nil
}

// readFired reads the labelled members of a set, in the order of their rules.
func (s *Snapshot) readFired(members ast.Set, approve bool) ([]fired, error) {
	all := make([]fired, 0, members.Len())
	err := members.Iter(func(member *ast.Term) error {
		f, err := s.readMember(member, approve)
		all = append(all, f)
		return err
	})
	slices.SortFunc(all, func(x, y fired) int { return x.rule.compare(y.rule) })
	return all, err
}

func (r Rule) compare(o Rule) int {
	return cmp.Or(cmp.Compare(r.Path, o.Path), cmp.Compare(r.ID, o.ID), cmp.Compare(r.File, o.File),
		cmp.Compare(r.Line, o.Line), cmp.Compare(r.Reason, o.Reason))
}

// readMember reads the pair [id, member], or [id] of a weakened rule.
func (s *Snapshot) readMember(term *ast.Term, approve bool) (fired, error) {
	labelled, ok := term.Value.(*ast.Array)
	if !ok || labelled.Len() < 1 || labelled.Len() > 2 {
		return fired{}, errShape
	}
	number, ok := labelled.Elem(0).Value.(ast.Number)
	id, isInt := number.Int()
	if !ok || !isInt || id < 0 || id >= len(s.table) {
		return fired{}, errShape
	}
	f := fired{rule: s.table[id].rule()}
	if labelled.Len() == 1 {
		return f, nil
	}
	if err := f.read(labelled.Elem(1), approve); err != nil {
		return fired{}, fmt.Errorf("%s:%d: %w", f.rule.File, f.rule.Line, err)
	}
	return f, nil
}

func (r *EffectRule) rule() Rule {
	return Rule{Path: r.Path, ID: r.ID, Title: r.Title, File: r.File, Line: r.Line}
}

var errMember = errors.New("a member must be a reason, or an object with a reason")

// read reads what the author's rule gave: a reason, or an object with one.
func (f *fired) read(member *ast.Term, approve bool) error {
	f.approval.Required = 1
	if reason, ok := stringOf(member); ok {
		f.rule.Reason = reason
		return nil
	}
	object, ok := member.Value.(ast.Object)
	if !ok {
		return errMember
	}
	if f.rule.Reason, ok = stringOf(object.Get(keyReason)); !ok {
		return errMember
	}
	if !approve {
		return nil
	}
	return f.approval.read(object)
}

// maxRequired is how many people a call can need: more votes than that are not
// kept.
const maxRequired = 100

func (a *Approval) read(object ast.Object) (err error) {
	if a.Approvers, err = readStrings(object.Get(keyApprovers), "approvers"); err != nil {
		return err
	}
	if term := object.Get(keyRequired); term != nil {
		number, ok := term.Value.(ast.Number)
		if a.Required, _ = number.Int(); !ok || a.Required < 1 || a.Required > maxRequired {
			return fmt.Errorf("required must be a whole number, 1 to %d", maxRequired)
		}
	}
	if a.Expires, err = readDuration(object.Get(keyExpires), "expires"); err != nil {
		return err
	}
	a.Valid, err = readDuration(object.Get(keyValid), "valid")
	return err
}

// readDuration reads a duration; one that is absent is 0.
func readDuration(term *ast.Term, name string) (time.Duration, error) {
	if term == nil {
		return 0, nil
	}
	text, ok := stringOf(term)
	if d, err := time.ParseDuration(text); ok && err == nil && d > 0 {
		return d, nil
	}
	return 0, fmt.Errorf("%s must be a duration like \"24h\"", name)
}

// readStrings reads an array or a set of strings; absent is empty.
func readStrings(term *ast.Term, name string) ([]string, error) {
	if term == nil {
		return nil, nil
	}
	var all []string
	add := func(item *ast.Term) error {
		text, ok := stringOf(item)
		if !ok {
			return fmt.Errorf("%s must be a list of strings", name)
		}
		all = append(all, text)
		return nil
	}
	err := fmt.Errorf("%s must be a list of strings", name)
	switch items := term.Value.(type) {
	case *ast.Array:
		err = items.Iter(add)
	case ast.Set:
		err = items.Iter(add)
	}
	return all, err
}

// readMask reads JSON pointers (RFC 6901) into the arguments.
func readMask(members ast.Set) ([]string, error) {
	var pointers []string
	err := members.Iter(func(member *ast.Term) error {
		pointer, ok := stringOf(member)
		if !ok || pointer != "" && !strings.HasPrefix(pointer, "/") {
			return errors.New("mask must be a set of JSON pointers like \"/card/number\"")
		}
		pointers = append(pointers, pointer)
		return nil
	})
	slices.Sort(pointers)
	return pointers, err
}

func setOf(term *ast.Term) (ast.Set, bool) {
	if term == nil {
		return nil, false
	}
	set, ok := term.Value.(ast.Set)
	return set, ok
}

func stringOf(term *ast.Term) (string, bool) {
	if term == nil {
		return "", false
	}
	s, ok := term.Value.(ast.String)
	return string(s), ok
}
