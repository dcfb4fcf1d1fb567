package catalog

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Bounds on a schema, and on evaluating it once: units of cost are about one
// visit of a subschema, some 100 ns. Schemas are written by strangers, and a
// few lines of them can ask for exponential work.
const (
	maxSchemaValues = 10_000
	maxCost         = 1 << 18
)

// baseURL is where a schema is said to be, so that its own references resolve.
// Nothing is ever loaded from it, or from anywhere.
const baseURL = "https://tool.invalid/inputSchema"

// compiled is a schema that is ready to evaluate one value at a time.
type compiled struct {
	root  *jsonschema.Schema
	meter *meter
}

// noLoader refuses what a schema refers to outside of itself (SECURITY T6).
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("references to other documents are not followed")
}

// compile prepares a decoded schema. It does not panic, whatever the schema.
func compile(schema any) (c *compiled, err error) {
	defer func() {
		if r := recover(); r != nil {
			c, err = nil, notCompiled(r)
		}
	}()
	c = &compiled{meter: &meter{}}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.UseLoader(noLoader{})
	compiler.UseRegexpEngine(func(s string) (jsonschema.Regexp, error) { return newPattern(s, c.meter), nil })
	if err := compiler.AddResource(baseURL, schema); err != nil {
		return nil, notCompiled(err)
	}
	if c.root, err = compiler.Compile(baseURL); err != nil {
		return nil, notCompiled(err)
	}
	if c.meter.programs > maxPrograms {
		return nil, notCompiled("its regular expressions are too large")
	}
	seen := map[*jsonschema.Schema]bool{}
	c.meter.attach(c.root, seen)
	for _, ptr := range anchored(schema, "", nil) {
		// What is not a schema after all, a default value for instance, does not
		// compile and is not reached either.
		if s, err := compiler.Compile(baseURL + "#" + ptr); err == nil {
			c.meter.attach(s, seen)
		}
	}
	return c, nil
}

// notCompiled makes one short line of what the library says, which spans many
// and quotes the schema.
func notCompiled(cause any) error {
	const most = 400
	line := strings.Join(strings.Fields(fmt.Sprint(cause)), " ")
	if len(line) > most {
		line = strings.ToValidUTF8(line[:most], "") + "…"
	}
	return fmt.Errorf("the inputSchema does not compile: %s", line)
}

// anchored returns pointers to the subschemas that evaluation can reach by a
// dynamic reference, and so without an edge that attach could follow.
func anchored(v any, ptr string, found []string) []string {
	switch v := v.(type) {
	case map[string]any:
		for _, name := range []string{"$id", "id", "$dynamicAnchor", "$recursiveAnchor"} {
			switch v[name].(type) {
			case string, bool:
				found = append(found, ptr)
			}
		}
		for name, member := range v {
			token := strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
			found = anchored(member, ptr+"/"+url.PathEscape(token), found)
		}
	case []any:
		for i, item := range v {
			found = anchored(item, fmt.Sprintf("%s/%d", ptr, i), found)
		}
	}
	return found
}
