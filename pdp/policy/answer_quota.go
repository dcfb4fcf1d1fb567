package policy

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// The members of a quota.
const (
	quotaName     = "name"
	quotaLimit    = "limit"
	quotaCost     = "cost"
	quotaWindow   = "window"
	quotaTimezone = "timezone"
	quotaBurst    = "burst"
	quotaPer      = "per"
	quotaKey      = "key"
)

// quotaPers is what a quota can be counted per.
var quotaPers = []string{"client", "grant", "server", "subject", "tool"}

// wrapQuota puts each value of a quota into a list, which is empty where what
// the value is computed from is not there. Without that the whole rule would be
// undefined then: a call that leaves the amount out would cost nothing, and a
// subject for whom no limit is noted would have none. Readers of compiled members
// find the lists, authors and `opa test` never do.
func wrapQuota(head *ast.Term) {
	object, ok := head.Value.(ast.Object)
	if !ok {
		return // checkRule has refused it
	}
	wrapped, _ := object.Map(func(name, value *ast.Term) (*ast.Term, *ast.Term, error) {
		list := ast.ArrayTerm(value)
		if !ast.IsConstant(value.Value) {
			list = ast.ArrayComprehensionTerm(value, alwaysTrue())
		}
		list.Location = value.Location
		return name, list, nil
	})
	head.Value = wrapped
}

func readQuotas(members ast.Set) ([]Quota, error) {
	var quotas []Quota
	err := members.Iter(func(member *ast.Term) error {
		object, ok := member.Value.(ast.Object)
		if !ok {
			return errors.New("a quota must be an object")
		}
		q, err := readQuota(object)
		quotas = append(quotas, q)
		return err
	})
	slices.SortFunc(quotas, func(x, y Quota) int {
		return cmp.Or(cmp.Compare(x.Name, y.Name), slices.Compare(x.Per, y.Per), cmp.Compare(x.Key, y.Key), cmp.Compare(x.Window, y.Window),
			cmp.Compare(x.Limit, y.Limit), cmp.Compare(x.Cost, y.Cost))
	})
	return quotas, err
}

func readQuota(object ast.Object) (q Quota, err error) {
	if name := object.Get(keyName); name != nil {
		q.Name, _ = stringOf(computed(name))
	}
	if q.Name == "" {
		return q, errors.New("a quota must have a name")
	}
	for _, member := range []string{quotaLimit, quotaWindow} {
		if err == nil && object.Get(ast.StringTerm(member)) == nil {
			err = q.read(member, nil)
		}
	}
	if err == nil {
		err = object.Iter(func(name, value *ast.Term) error { return q.read(text(name), computed(value)) })
	}
	if err != nil {
		err = fmt.Errorf("quota %q: %w", q.Name, err)
	}
	return q, err
}

// computed takes the value out of the list that wrapQuota has put it into; nil
// is none.
func computed(list *ast.Term) *ast.Term {
	if array, ok := list.Value.(*ast.Array); ok && array.Len() == 1 {
		return array.Elem(0)
	}
	return nil
}

// read reads one member. A cost and a key come from the call and may be
// anything, which is then the call's fault; everything else is the policy's.
func (q *Quota) read(name string, value *ast.Term) (err error) {
	switch name {
	case quotaName:
	case quotaLimit:
		q.Limit, err = readAmount(value, name)
	case quotaBurst:
		q.Burst, err = readAmount(value, name)
	case quotaWindow:
		q.Window, err = readText(value, name)
	case quotaTimezone:
		q.Timezone, err = readText(value, name)
	case quotaPer:
		q.Per, err = readPer(value)
	case quotaCost:
		q.Cost, q.CostFault = readCost(value)
	case quotaKey:
		q.Key, err = readKey(value)
	default:
		err = fmt.Errorf("a quota has no member %q", name)
	}
	return err
}

// readCost reads a decimal that is not negative, as it was written (I7), or says
// what else it is.
func readCost(term *ast.Term) (cost, fault string) {
	if term == nil {
		return "", "is missing"
	}
	switch value := term.Value.(type) {
	case ast.Number:
		if strings.HasPrefix(string(value), "-") {
			return "", "is negative"
		}
		return string(value), ""
	case ast.Null:
		return "", "is null, not a number"
	case ast.Boolean:
		return "", "is a boolean, not a number"
	case ast.String:
		return "", "is a string, not a number"
	}
	return "", "is no number"
}

// readKey writes a value so that equal values are the same text, however the
// caller spells its numbers and orders its members.
func readKey(term *ast.Term) (string, error) {
	if term == nil {
		return "null", nil
	}
	var b bytes.Buffer
	if err := writeValue(jsontext.NewEncoder(&b), term.Value); err != nil {
		return "", fmt.Errorf("key: %w", err)
	}
	key := jsontext.Value(bytes.TrimSpace(b.Bytes()))
	if err := key.Canonicalize(); err != nil {
		return "", fmt.Errorf("key: %w", err)
	}
	return string(key), nil
}

func readAmount(term *ast.Term, name string) (string, error) {
	if term != nil {
		if number, ok := term.Value.(ast.Number); ok && !strings.HasPrefix(string(number), "-") {
			return string(number), nil
		}
	}
	return "", fmt.Errorf("%s must be a number, 0 or more", name)
}

func readText(term *ast.Term, name string) (string, error) {
	text, _ := stringOf(term)
	if text == "" {
		return "", fmt.Errorf("%s must be a string", name)
	}
	return text, nil
}

func readPer(term *ast.Term) ([]string, error) {
	if term == nil {
		return nil, errors.New("per must be a list of strings")
	}
	per, err := readStrings(term, quotaPer)
	if err != nil {
		return nil, err
	}
	for _, name := range per {
		if !slices.Contains(quotaPers, name) {
			return nil, fmt.Errorf("it can be counted per %s, or by a key of its own, and not per %q", strings.Join(quotaPers, ", "), name)
		}
	}
	slices.Sort(per)
	return slices.Compact(per), nil
}
