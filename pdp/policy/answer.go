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
	keyMask    = ast.StringTerm("mask")
	keyUnknown = ast.StringTerm("unknown")

	keyScope      = ast.StringTerm(setScope)
	keyLacking    = ast.StringTerm("lacking")
	keyQuota      = ast.StringTerm(setQuota)
	keyCredential = ast.StringTerm(setCredential)

	keyReason    = ast.StringTerm("reason")
	keyApprovers = ast.StringTerm("approvers")
	keyRequired  = ast.StringTerm("required")
	keyExpires   = ast.StringTerm("expires")
	keyValid     = ast.StringTerm("valid")
)

var errShape = errors.New("the policy's answer is not a decision")

// answer is what the policy says of a frame, as ast has it: of the library, or put
// together by a plan.
type answer struct {
	effect  Effect
	members ast.Set  // of the sets that won
	unknown []string // attachments of the grant that the policy does not have
	mask    ast.Set

	// What may pass has these, and so has, of scope, what lacks one.
	scope      ast.Set
	lacking    bool
	quota      ast.Set
	credential ast.Set
}

func (a *answer) mayPass() bool { return a.effect == Allow || a.effect == Approve }

// result reads the value of data.mcpermit.decision.
func (s *Snapshot) result(value ast.Value) (Result, error) {
	object, ok := value.(ast.Object)
	if !ok {
		return Result{}, errShape
	}
	var a answer
	if err := a.verdict(object); err != nil {
		return Result{}, err
	}
	a.lacking = object.Get(keyLacking) != nil
	var err error
	if a.unknown, err = readStrings(object.Get(keyUnknown), "unknown"); err != nil {
		return Result{}, err
	}
	slices.Sort(a.unknown)
	for _, m := range [...]struct {
		key  *ast.Term
		set  *ast.Set
		must bool
	}{
		{keyMask, &a.mask, true},
		{keyScope, &a.scope, a.mayPass() || a.lacking},
		{keyQuota, &a.quota, a.mayPass()},
		{keyCredential, &a.credential, a.mayPass()},
	} {
		if *m.set, ok = setOf(object.Get(m.key)); !ok && m.must {
			return Result{}, errShape
		}
	}
	return s.read(a)
}

// verdict reads the effect and the members.
func (a *answer) verdict(object ast.Object) (err error) {
	if a.effect, err = readEffect(object.Get(keyEffect)); err != nil {
		return err
	}
	var ok bool
	if a.members, ok = setOf(object.Get(keyMembers)); !ok {
		return errShape
	}
	return nil
}

// read turns an answer into a result. Whatever is not exactly what it must be is
// an error; nothing is guessed.
func (s *Snapshot) read(a answer) (r Result, err error) {
	r.Effect = a.effect
	if err = s.readCause(&r, a); err != nil {
		return Result{}, err
	}
	if a.mayPass() {
		if _, err = s.readFired(a.scope, setScope); err != nil {
			return Result{}, err
		}
		if r.Quotas, err = readQuotas(a.quota); err != nil {
			return Result{}, err
		}
		if r.Credential, err = s.chosenCredential(a.credential); err != nil {
			return Result{}, err
		}
	}
	r.Mask, err = readMask(a.mask)
	return r, err
}

// readCause reads why the effect is what it is.
func (s *Snapshot) readCause(r *Result, a answer) error {
	r.Cause = CauseRule
	switch {
	case a.lacking:
		r.Cause = CauseScope
		return s.readLacking(r, a.scope)
	case a.members.Len() == 0 && len(a.unknown) == 0:
		r.Cause = CauseNoMatch
	}
	if err := s.readMembers(r, a.members); err != nil {
		return err
	}
	switch len(a.unknown) {
	case 0:
	case 1:
		r.Reason = "The grant's policy " + a.unknown[0] + " is not in force."
	default:
		r.Reason = "The grant's policies " + strings.Join(a.unknown, ", ") + " are not in force."
	}
	return nil
}

func readEffect(term *ast.Term) (Effect, error) {
	name, ok := stringOf(term)
	if i := slices.Index(effectNames[:], name); ok && i >= 0 {
		return Effect(i), nil
	}
	return Deny, errShape
}

// fired is one member of a labelled set with the rule that it came from.
type fired struct {
	rule     Rule
	approval Approval
}

func (s *Snapshot) readMembers(r *Result, members ast.Set) error {
	if members.Len() == 0 {
		return nil
	}
	all, err := s.readFired(members, r.Effect.String())
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
func (s *Snapshot) readFired(members ast.Set, set string) ([]fired, error) {
	if members.Len() == 0 {
		return nil, nil
	}
	all := make([]fired, 0, members.Len())
	err := members.Iter(func(member *ast.Term) error {
		f, err := s.readMember(member, set)
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
func (s *Snapshot) readMember(term *ast.Term, set string) (fired, error) {
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
	var err error
	switch member := labelled.Elem(1); set {
	case setScope:
		f.rule.Reason, err = readScope(member)
	case setCredential:
		f.rule.Reason, err = readCredential(member)
	default:
		err = f.read(member, set == setApprove)
	}
	if err != nil {
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

// union spares the copy where one of the sets is empty.
func union(a, b ast.Set) ast.Set {
	switch {
	case a.Len() == 0:
		return b
	case b.Len() == 0:
		return a
	}
	return a.Union(b)
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
