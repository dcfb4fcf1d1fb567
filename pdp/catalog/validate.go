package catalog

import (
	"fmt"
	"strings"
	"unicode"
)

// Uncheckable is the error of [Catalog.Validate] that is not about the
// arguments: they could not be held against the schema. Its text is fit for the
// client; the cause may quote the server's schema and is for the log.
type Uncheckable struct{ Cause error }

func (e *Uncheckable) Error() string {
	return "the arguments cannot be checked against the tool's input schema"
}

// Unwrap returns the cause.
func (e *Uncheckable) Unwrap() error { return e.Cause }

// Invalid is the error of [Catalog.Validate] when arguments break the schema.
type Invalid struct {
	// Path is a JSON pointer into the arguments; "" is the whole. Its names are
	// the caller's or the schema's, cut to a length and without unprintable
	// characters; values are never in it.
	Path string
	// Rule is the schema's keyword that is broken, for instance "type"; or
	// "json" or "number" for what is not read as JSON in the first place.
	Rule string
}

func (e *Invalid) Error() string {
	switch {
	case e.Rule == "json":
		return "the arguments are not strict JSON"
	case e.Path == "":
		return fmt.Sprintf("the arguments break the rule %q of the tool's input schema", e.Rule)
	}
	return fmt.Sprintf("the argument %s breaks the rule %q of the tool's input schema", e.Path, e.Rule)
}

// Validate holds the arguments of a call against the inputSchema of a tool's
// raw definition (JSON Schema 2020-12, or what its $schema says). Absent
// arguments count as {}. Without a definition there is nothing to hold them
// against, and the error is nil: class and pin of such a tool are unknown.
//
// The error is an *Invalid when a rule of the schema is broken, and otherwise an
// *[Uncheckable]: the definition or its schema cannot be read, or refers to
// something remote, or a part of it that the arguments touch cannot be
// evaluated (see pattern), or evaluating it costs too much. Such a call has to
// be denied as well. To let it pass unchecked would leave it to the server
// which of its tools the policy's view of an argument's type is reliable for
// (I1); what an operator loses is a tool whose server published a schema that
// nobody can apply.
func (c *Catalog) Validate(definition, arguments []byte) error {
	if len(definition) == 0 {
		return nil
	}
	d, err := c.definitions.get(definition)
	if err != nil {
		return &Uncheckable{err}
	}
	if len(arguments) == 0 {
		arguments = []byte("{}")
	}
	return d.arguments.validate(arguments)
}

// pointer writes a JSON pointer that is fit to be shown.
func pointer(path []string) string {
	const most = 120
	var b strings.Builder
	for _, name := range path {
		name = strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
		b.WriteByte('/')
		b.WriteString(strings.Map(printable, name))
		if b.Len() > most {
			return strings.ToValidUTF8(b.String()[:most], "") + "…"
		}
	}
	return b.String()
}

func printable(r rune) rune {
	if unicode.IsPrint(r) {
		return r
	}
	return unicode.ReplacementChar
}
