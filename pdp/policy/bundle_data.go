package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
	"go.yaml.in/yaml/v4"
)

// maxDataDepth is how deep a data file may nest.
const maxDataDepth = 128

// gatherData reads the data files among entries strictly and puts each at the
// path of its directory. A value that two files give is an error.
func gatherData(entries []entry, isData func(entry) bool) (map[string]any, error) {
	root := map[string]any{}
	for _, e := range entries {
		if !isData(e) {
			continue
		}
		value, err := readData(e)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.path, err)
		}
		var at []string
		if dir := path.Dir(e.path); dir != "." {
			at = strings.Split(dir, "/")
		}
		for _, name := range slices.Backward(at) {
			value = map[string]any{name: value}
		}
		if err := mergeData(root, value, "data"); err != nil {
			return nil, fmt.Errorf("%s: %w", e.path, err)
		}
	}
	return root, nil
}

// mergeData adds what from has to into.
func mergeData(into, from map[string]any, at string) error {
	for name, value := range from {
		have, ok := into[name]
		if !ok {
			into[name] = value
			continue
		}
		a, aok := have.(map[string]any)
		b, bok := value.(map[string]any)
		if !aok || !bok {
			return fmt.Errorf("%s.%s is given by another file as well: data files are merged at the path of their directory, so their names must differ", at, name)
		}
		if err := mergeData(a, b, at+"."+name); err != nil {
			return err
		}
	}
	return nil
}

func readData(e entry) (map[string]any, error) {
	read := readYAML
	if path.Ext(e.path) == ".json" {
		read = readJSON
	}
	value, err := read(e.data)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("a data file holds one object")
	}
	return object, nil
}

// readJSON reads one JSON value: no duplicate names, valid UTF-8, nothing
// behind it. Numbers stay as they are written (json.Number).
func readJSON(data []byte) (any, error) {
	d := jsontext.NewDecoder(bytes.NewReader(data))
	value, err := decodeJSON(d)
	if err != nil {
		return nil, err
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("there is more behind the JSON value")
	}
	return value, nil
}

func decodeJSON(d *jsontext.Decoder) (any, error) {
	if d.StackDepth() > maxDataDepth {
		return nil, fmt.Errorf("nested deeper than %d", maxDataDepth)
	}
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '{':
		object := map[string]any{}
		for d.PeekKind() != '}' {
			name, err := d.ReadToken()
			if err != nil {
				return nil, err
			}
			key := name.String() // the token is void after the next read
			if object[key], err = decodeJSON(d); err != nil {
				return nil, err
			}
		}
		_, err = d.ReadToken()
		return object, err
	case '[':
		array := []any{}
		for d.PeekKind() != ']' {
			value, err := decodeJSON(d)
			if err != nil {
				return nil, err
			}
			array = append(array, value)
		}
		_, err = d.ReadToken()
		return array, err
	case '"':
		return token.String(), nil
	case '0':
		return number(token.String())
	case 't', 'f':
		return token.Bool(), nil
	default:
		return nil, nil
	}
}

// number refuses what no evaluation could use: 1e400000 is nine bytes of file
// and minutes of arithmetic.
func number(text string) (json.Number, error) {
	if _, err := strconv.ParseFloat(text, 64); err != nil {
		return "", fmt.Errorf("the number %.40s is out of range", text)
	}
	return json.Number(text), nil
}

// readYAML reads one YAML document as the JSON it could have been: no
// duplicate names, anchors, aliases, merge keys or tags, names that are
// strings, numbers as in JSON. What YAML 1.1 and 1.2 read differently (a bare
// yes, on, 010, 1_000) is refused.
func readYAML(data []byte) (any, error) {
	var doc yaml.Node
	if err := yaml.Load(data, &doc); err != nil {
		return nil, err
	}
	if doc.Kind != yaml.DocumentNode || len(doc.Content) != 1 {
		return nil, errors.New("want one YAML document")
	}
	return decodeYAML(doc.Content[0], 0)
}

func decodeYAML(n *yaml.Node, depth int) (any, error) {
	if depth > maxDataDepth {
		return nil, fmt.Errorf("line %d: nested deeper than %d", n.Line, maxDataDepth)
	}
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		return nil, fmt.Errorf("line %d: no anchors and aliases in policy data: write the value out", n.Line)
	}
	if n.Style&yaml.TaggedStyle != 0 {
		return nil, fmt.Errorf("line %d: no tags in policy data: remove %s", n.Line, n.Tag)
	}
	switch n.Kind {
	case yaml.MappingNode:
		return decodeYAMLObject(n, depth)
	case yaml.SequenceNode:
		array := make([]any, 0, len(n.Content))
		for _, c := range n.Content {
			value, err := decodeYAML(c, depth+1)
			if err != nil {
				return nil, err
			}
			array = append(array, value)
		}
		return array, nil
	default:
		return decodeYAMLScalar(n)
	}
}

func decodeYAMLObject(n *yaml.Node, depth int) (any, error) {
	object := make(map[string]any, len(n.Content)/2)
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := n.Content[i]
		key, err := decodeYAML(k, depth+1)
		if err != nil {
			return nil, err
		}
		name, ok := key.(string)
		if !ok || k.ShortTag() == "!!merge" {
			return nil, fmt.Errorf("line %d: the name %s is not a string: quote it", k.Line, k.Value)
		}
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("line %d: %q is given twice", k.Line, name)
		}
		if object[name], err = decodeYAML(n.Content[i+1], depth+1); err != nil {
			return nil, err
		}
	}
	return object, nil
}

// plainWords are bare scalars that some readers take for a boolean or a number.
var plainWords = []string{"y", "n", "yes", "no", "on", "off", ".inf", "+.inf", "-.inf", ".nan"}

func decodeYAMLScalar(n *yaml.Node) (any, error) {
	if n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return n.Value, nil
	}
	switch n.Value {
	case "true", "false":
		return n.Value == "true", nil
	case "null", "~", "":
		return nil, nil
	}
	if jsontext.Value(n.Value).Kind() == '0' && jsontext.Value(n.Value).IsValid() {
		return number(n.Value)
	}
	if n.ShortTag() != "!!str" || slices.Contains(plainWords, strings.ToLower(n.Value)) {
		return nil, fmt.Errorf("line %d: not every reader understands %s the same way: quote it, or write it as in JSON", n.Line, n.Value)
	}
	return n.Value, nil
}

// sameData compares two documents as Rego would: numbers by value.
func sameData(a, b map[string]any) bool {
	x, err := ast.InterfaceToValue(a)
	if err != nil {
		return false
	}
	y, err := ast.InterfaceToValue(b)
	return err == nil && x.Compare(y) == 0
}
