package policy

import (
	"bytes"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// objectTerm reads one JSON object, all of it, and makes terms of those of its
// members that are to be read. Names must be unique, strings valid UTF-8, and
// numbers keep every digit that they have.
func objectTerm(b []byte, read *names) (*ast.Term, error) {
	dec := jsontext.NewDecoder(bytes.NewBuffer(b))
	if dec.PeekKind() != '{' {
		if _, err := dec.ReadToken(); err != nil {
			return nil, noEOF(err)
		}
		return nil, errors.New("not a JSON object")
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, noEOF(err)
	}
	term, err := readObject(dec, read)
	if err != nil {
		return nil, noEOF(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, errors.New("more follows after the JSON object")
	}
	return term, nil
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

func readTerm(dec *jsontext.Decoder) (*ast.Term, error) {
	token, err := dec.ReadToken()
	if err != nil {
		return nil, err
	}
	switch token.Kind() {
	case '{':
		return readObject(dec, readAll)
	case '[':
		return readArray(dec)
	case '"':
		return ast.StringTerm(token.String()), nil
	case '0':
		number, err := ast.NumberChecked(token.String())
		return ast.NewTerm(number), err
	case 't', 'f':
		return ast.InternedTerm(token.Bool()), nil
	default:
		return ast.InternedNullTerm, nil
	}
}

// readObject reads the members of an object whose brace has been read.
func readObject(dec *jsontext.Decoder, read *names) (*ast.Term, error) {
	object := ast.NewObject()
	for dec.PeekKind() != '}' {
		token, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		if !read.has(name) {
			if err := dec.SkipValue(); err != nil {
				return nil, err
			}
			continue
		}
		value, err := readTerm(dec)
		if err != nil {
			return nil, err
		}
		object.Insert(ast.InternedTerm(name), value)
	}
	_, err := dec.ReadToken()
	return ast.NewTerm(object), err
}

func readArray(dec *jsontext.Decoder) (*ast.Term, error) {
	var items []*ast.Term
	for dec.PeekKind() != ']' {
		item, err := readTerm(dec)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	_, err := dec.ReadToken()
	return ast.ArrayTerm(items...), err
}
