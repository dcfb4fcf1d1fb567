package catalog

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// arguments checks calls against one inputSchema. It compiles the schema when
// it is first asked, and keeps as many compiled copies as can be in use at a
// time: a copy counts the cost of one evaluation and so serves one at a time.
type arguments struct {
	raw     []byte // the schema; nil when the definition has none
	prepare sync.Once
	schema  any // decoded
	err     error
	idle    chan *compiled
}

func newArguments(schema []byte) *arguments {
	return &arguments{raw: schema, idle: make(chan *compiled, runtime.GOMAXPROCS(0))}
}

// validate returns nil, an *Invalid, or an *Uncheckable.
func (a *arguments) validate(b []byte) error {
	instance, err := decode(b)
	if err != nil {
		return err
	}
	c, err := a.take()
	if err != nil {
		return err
	}
	defer a.put(c)
	return c.validate(instance)
}

func (a *arguments) take() (*compiled, error) {
	select {
	case c := <-a.idle:
		return c, nil
	default:
	}
	a.prepare.Do(func() {
		if a.schema, a.err = decodeSchema(a.raw); a.err == nil {
			// Whether it compiles is found out once, not with every call.
			var first *compiled
			if first, a.err = compile(a.schema); a.err == nil {
				a.put(first)
			}
		}
	})
	if a.err != nil {
		return nil, &Uncheckable{a.err}
	}
	select {
	case c := <-a.idle:
		return c, nil
	default:
		c, err := compile(a.schema)
		if err != nil {
			return nil, &Uncheckable{err}
		}
		return c, nil
	}
}

func (a *arguments) put(c *compiled) {
	select {
	case a.idle <- c:
	default:
	}
}

// decodeSchema reads an inputSchema. MCP requires one.
func decodeSchema(raw []byte) (any, error) {
	switch {
	case raw == nil:
		return nil, errors.New("the definition has no inputSchema")
	case len(raw) > maxDefinitionBytes:
		return nil, errors.New("the inputSchema is too large")
	}
	schema, err := decode(raw)
	if err != nil {
		return nil, errors.New("the inputSchema is not strict JSON")
	}
	if count(schema) > maxSchemaValues {
		return nil, errors.New("the inputSchema has too many parts")
	}
	return schema, nil
}

// validate evaluates the schema. Whatever goes wrong in it denies.
func (c *compiled) validate(instance any) (err error) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case stop:
			err = &Uncheckable{r}
		default: // a fault of the library, which is fed by strangers
			err = &Uncheckable{fmt.Errorf("the check failed: %v", r)}
		}
	}()
	c.meter.reset()
	err = c.root.Validate(instance)
	if err == nil {
		return nil
	}
	var failed *jsonschema.ValidationError
	if !errors.As(err, &failed) {
		return &Uncheckable{err}
	}
	found := slices.MinFunc(broken(failed, nil), func(a, b *Invalid) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Rule, b.Rule))
	})
	return found
}

// broken collects the rules that a value breaks, at least one. It stops at
// alternatives: which of them was meant is a guess.
func broken(e *jsonschema.ValidationError, found []*Invalid) []*Invalid {
	switch k := e.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.AllOf, *kind.Reference:
		for _, cause := range e.Causes {
			found = broken(cause, found)
		}
		if len(e.Causes) > 0 {
			return found
		}
	case *kind.Not:
		return append(found, at(e, "not"))
	case *kind.Required:
		return append(found, at(e, "required", slices.Sorted(slices.Values(k.Missing))...))
	case *kind.AdditionalProperties:
		return append(found, at(e, "additionalProperties", slices.Sorted(slices.Values(k.Properties))...))
	}
	rule := "schema"
	if e.ErrorKind != nil {
		if path := e.ErrorKind.KeywordPath(); len(path) > 0 {
			rule = path[0]
		} else if i := strings.LastIndexByte(e.SchemaURL, '/'); i >= 0 {
			rule = keyword(e.SchemaURL[i+1:])
		}
	}
	return append(found, at(e, rule))
}

// keyword names the rule that a subschema stands under; a property's name is
// not one.
func keyword(s string) string {
	switch s {
	case "unevaluatedProperties", "unevaluatedItems", "additionalProperties", "items", "not", "contains":
		return s
	}
	return "schema"
}

// at places a broken rule; of names, the first is where it is broken.
func at(e *jsonschema.ValidationError, rule string, names ...string) *Invalid {
	path := e.InstanceLocation
	if len(names) > 0 {
		path = append(slices.Clip(path), names[0])
	}
	return &Invalid{Path: pointer(path), Rule: rule}
}

// decode reads strict JSON as the schema library wants it, with numbers as
// they are written.
func decode(b []byte) (any, error) {
	d := newDecoder(bytes.NewReader(b))
	v, err := d.value(0)
	if err != nil {
		return nil, err
	}
	return v, d.end()
}
