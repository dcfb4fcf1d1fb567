package catalog

import (
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// stop ends an evaluation from inside the library, which knows no other way.
type stop string

func (s stop) Error() string { return string(s) }

// meter bounds one evaluation of a schema.
type meter struct {
	left     int // cost that may still be spent
	programs int // instructions of the schema's regular expressions
}

func (m *meter) reset() { m.left = maxCost }

func (m *meter) spend(cost int) {
	m.left -= cost
	if m.left < 0 {
		panic(stop("evaluating the inputSchema on these arguments costs too much"))
	}
}

// attach makes every subschema that is reached from s pay before its own
// subschemas are evaluated. The library asks a schema's format first of all
// that leads on, so that is where the fee is taken. What a subschema checks
// before that (type, const, enum) its parent pays for.
func (m *meter) attach(s *jsonschema.Schema, seen map[*jsonschema.Schema]bool) {
	if s == nil || seen[s] || s.Bool != nil {
		return
	}
	seen[s] = true
	subschemas := children(s)
	fee := 1
	for _, sub := range subschemas {
		fee += entryFee(sub)
	}
	inner, patterns, unique := s.Format, len(s.PatternProperties), s.UniqueItems
	format := &jsonschema.Format{Validate: func(v any) error {
		m.spend(fee + width(v, patterns, unique))
		if inner != nil {
			return inner.Validate(v)
		}
		return nil
	}}
	if inner != nil {
		format.Name = inner.Name
	}
	s.Format = format
	for _, sub := range subschemas {
		m.attach(sub, seen)
	}
}

// entryFee is the cost of what a schema compares before its format.
func entryFee(s *jsonschema.Schema) int {
	fee := 1
	if s.Const != nil {
		fee += count(*s.Const)
	}
	if s.Enum != nil {
		fee += count(s.Enum.Values)
	}
	return fee
}

// width is the cost of walking over a value's members once.
func width(v any, patterns int, unique bool) int {
	switch v := v.(type) {
	case map[string]any:
		return len(v) * (1 + patterns)
	case []any:
		if unique {
			return count(v)
		}
		return len(v)
	}
	return 0
}

// children returns the subschemas that a schema names, for its own value and
// for the value's members.
func children(s *jsonschema.Schema) []*jsonschema.Schema {
	list := []*jsonschema.Schema{
		s.Ref, s.RecursiveRef, s.Not, s.If, s.Then, s.Else, s.PropertyNames, s.Contains,
		s.UnevaluatedProperties, s.UnevaluatedItems, s.Items2020, s.ContentSchema,
	}
	if s.DynamicRef != nil {
		list = append(list, s.DynamicRef.Ref)
	}
	for _, several := range [][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf, s.PrefixItems} {
		list = append(list, several...)
	}
	for _, sub := range s.Properties {
		list = append(list, sub)
	}
	for _, sub := range s.PatternProperties {
		list = append(list, sub)
	}
	for _, sub := range s.DependentSchemas {
		list = append(list, sub)
	}
	loose := []any{s.AdditionalProperties, s.AdditionalItems, s.Items}
	for _, dependency := range s.Dependencies {
		loose = append(loose, dependency)
	}
	for _, v := range loose {
		switch v := v.(type) {
		case *jsonschema.Schema:
			list = append(list, v)
		case []*jsonschema.Schema:
			list = append(list, v...)
		}
	}
	present := list[:0]
	for _, sub := range list {
		if sub != nil {
			present = append(present, sub)
		}
	}
	return present
}
