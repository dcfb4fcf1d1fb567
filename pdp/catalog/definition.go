package catalog

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// definition is one item of tools/list, read once. It is immutable but for the
// compiled schema, which looks after itself.
type definition struct {
	name        string
	digest      Digest
	annotations []byte // raw; nil when absent
	hints       hints
	traits      []string
	arguments   *arguments
}

// pinnedMembers are the members that the digest covers: everything that tells
// a model or a person what the tool does and takes (SECURITY T8). In order.
var pinnedMembers = []string{"annotations", "description", "inputSchema", "name", "outputSchema", "title"}

// readDefinition reads a raw item of tools/list. b is kept.
func readDefinition(b []byte) (*definition, error) {
	members, err := readMembers(b)
	if err != nil {
		return nil, fmt.Errorf("tool definition: %w", err)
	}
	name, err := readString(members["name"])
	if err != nil {
		return nil, fmt.Errorf("tool definition: its name: %w", err)
	}
	d := &definition{
		name:        name,
		annotations: members["annotations"],
		hints:       readHints(members["annotations"]),
		traits:      readTraits(members["inputSchema"]),
		arguments:   newArguments(members["inputSchema"]),
	}
	if d.digest, err = digestMembers(members); err != nil {
		return nil, fmt.Errorf("tool definition: %w", err)
	}
	return d, nil
}

// digestMembers hashes the canonical form (RFC 8785) of the pinned members,
// except that numbers stay as they were sent: RFC 8785 would write two numbers
// that differ beyond float64 alike, and a server that changes how it writes its
// numbers has changed.
func digestMembers(members map[string]jsontext.Value) (Digest, error) {
	var object bytes.Buffer
	object.WriteByte('{')
	for _, name := range pinnedMembers {
		v, ok := members[name]
		if !ok {
			continue
		}
		if object.Len() > 1 {
			object.WriteByte(',')
		}
		fmt.Fprintf(&object, "%q:", name)
		object.Write(v)
	}
	object.WriteByte('}')
	canonical := jsontext.Value(object.Bytes())
	if err := canonical.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false)); err != nil {
		return Digest{}, err
	}
	return sha256.Sum256(canonical), nil
}

// readMembers splits an object. Duplicate names at any depth and invalid UTF-8
// are errors.
func readMembers(b []byte) (map[string]jsontext.Value, error) {
	dec := jsontext.NewDecoder(bytes.NewReader(b))
	if tok, err := dec.ReadToken(); err != nil {
		return nil, err
	} else if tok.Kind() != '{' {
		return nil, errors.New("not an object")
	}
	members := map[string]jsontext.Value{}
	for dec.PeekKind() != '}' {
		tok, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := tok.String()
		v, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		members[name] = slices.Clone(v)
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, err
	}
	if dec.PeekKind() != 0 {
		return nil, errors.New("something follows the object")
	}
	return members, nil
}

func readString(v jsontext.Value) (string, error) {
	if v.Kind() != '"' {
		return "", errors.New("not a string")
	}
	s, err := jsontext.AppendUnquote(nil, v)
	return string(s), err
}
