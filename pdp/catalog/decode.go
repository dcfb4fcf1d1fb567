package catalog

import (
	"encoding/json"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what is decoded. The frame reader has its own, tighter ones;
// these hold for whoever asks the PDP.
const (
	maxDepth     = 128
	maxNumberLen = 400 // characters
	maxExponent  = 400 // beyond any float64; exact arithmetic on more costs time and memory
)

var (
	errNotJSON = &Invalid{Rule: "json"}
	errNumber  = &Invalid{Rule: "number"}
)

type decoder struct{ *jsontext.Decoder }

// newDecoder refuses duplicate names and invalid UTF-8.
func newDecoder(r io.Reader) decoder { return decoder{jsontext.NewDecoder(r)} }

// value reads the next value. Its errors are *Invalid.
func (d decoder) value(depth int) (any, error) {
	tok, err := d.ReadToken()
	if err != nil || depth > maxDepth {
		return nil, errNotJSON
	}
	switch tok.Kind() {
	case '{':
		return d.object(depth)
	case '[':
		return d.array(depth)
	case '"':
		return tok.String(), nil
	case '0':
		return number(tok.String())
	case 't', 'f':
		return tok.Bool(), nil
	case 'n':
		return nil, nil
	default:
		return nil, errNotJSON
	}
}

func (d decoder) object(depth int) (any, error) {
	m := map[string]any{}
	for d.PeekKind() != '}' {
		tok, err := d.ReadToken()
		if err != nil {
			return nil, errNotJSON
		}
		name := tok.String()
		if m[name], err = d.value(depth + 1); err != nil {
			return nil, err
		}
	}
	return m, d.skip()
}

func (d decoder) array(depth int) (any, error) {
	list := []any{}
	for d.PeekKind() != ']' {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, d.skip()
}

// skip reads past the end of an object or array.
func (d decoder) skip() error {
	if _, err := d.ReadToken(); err != nil {
		return errNotJSON
	}
	return nil
}

// end holds the input to one value.
func (d decoder) end() error {
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return errNotJSON
	}
	return nil
}

func number(s string) (any, error) {
	if len(s) > maxNumberLen {
		return nil, errNumber
	}
	if i := strings.IndexAny(s, "eE"); i >= 0 {
		e, err := strconv.Atoi(s[i+1:])
		if err != nil || e > maxExponent || e < -maxExponent {
			return nil, errNumber
		}
	}
	return json.Number(s), nil
}

// count returns the number of values in v, itself included.
func count(v any) int {
	n := 1
	switch v := v.(type) {
	case map[string]any:
		for _, member := range v {
			n += count(member)
		}
	case []any:
		for _, item := range v {
			n += count(item)
		}
	}
	return n
}
