package policy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// The names of the input document, made once: terms are immutable.
var (
	keySubject   = ast.StringTerm("subject")
	keyGrant     = ast.StringTerm("grant")
	keyClient    = ast.StringTerm("client")
	keyServer    = ast.StringTerm("server")
	keyMethod    = ast.StringTerm("method")
	keyTool      = ast.StringTerm("tool")
	keyResource  = ast.StringTerm("resource")
	keyPrompt    = ast.StringTerm("prompt")
	keyArguments = ast.StringTerm("arguments")
	keyContext   = ast.StringTerm("context")

	keyID        = ast.StringTerm("id")
	keyType      = ast.StringTerm("type")
	keyGroups    = ast.StringTerm("groups")
	keyClaims    = ast.StringTerm("claims")
	keyLabels    = ast.StringTerm("labels")
	keyServers   = ast.StringTerm("servers")
	keyTools     = ast.StringTerm("tools")
	keyExpiresAt = ast.StringTerm("expires_at")
	keyName      = ast.StringTerm("name")
	keyVersion   = ast.StringTerm("version")
	keyTrusted   = ast.StringTerm("trusted")

	keyClass       = ast.StringTerm("class")
	keyRisk        = ast.StringTerm("risk")
	keyTraits      = ast.StringTerm("traits")
	keyPinned      = ast.StringTerm("pinned")
	keyAnnotations = ast.StringTerm("annotations")

	keyURI    = ast.StringTerm("uri")
	keyRaw    = ast.StringTerm("raw")
	keyScheme = ast.StringTerm("scheme")
	keyHost   = ast.StringTerm("host")
	keyPath   = ast.StringTerm("path")

	keyTime            = ast.StringTerm("time")
	keyTransport       = ast.StringTerm("transport")
	keyProtocolVersion = ast.StringTerm("protocol_version")
	keySession         = ast.StringTerm("session")
	keyPeer            = ast.StringTerm("peer")
	keyPEP             = ast.StringTerm("pep")
	keyDirection       = ast.StringTerm("direction")
)

type pair = [2]*ast.Term

// surroundings are the members of the input document that do not say what the
// frame asks for: one listing has them once for all of its entries.
func (in *Input) surroundings() ([]pair, error) {
	claims := ast.InternedEmptyObject
	if len(in.Subject.Claims) > 0 {
		value, err := ast.InterfaceToValue(in.Subject.Claims)
		if err != nil {
			return nil, fmt.Errorf("the subject's claims are not JSON: %w", err)
		}
		claims = ast.NewTerm(value)
	}
	c := in.Context
	direction := c.Direction
	if direction == "" {
		direction = "to_server"
	}
	return []pair{
		{keySubject, ast.ObjectTerm(
			pair{keyID, ast.StringTerm(in.Subject.ID)},
			pair{keyType, ast.StringTerm(in.Subject.Type)},
			pair{keyGroups, stringsTerm(in.Subject.Groups)},
			pair{keyClaims, claims},
		)},
		{keyGrant, grantTerm(in.Grant)},
		{keyClient, ast.ObjectTerm(
			pair{keyName, ast.StringTerm(in.Client.Name)},
			pair{keyVersion, ast.StringTerm(in.Client.Version)},
		)},
		{keyServer, ast.ObjectTerm(
			pair{keyName, ast.StringTerm(in.Server.Name)},
			pair{keyLabels, labelsTerm(in.Server.Labels)},
			pair{keyTrusted, ast.InternedTerm(in.Server.Trusted)},
		)},
		{keyContext, ast.ObjectTerm(
			pair{keyTime, ast.StringTerm(formatTime(c.Time))},
			pair{keyTransport, ast.StringTerm(c.Transport)},
			pair{keyProtocolVersion, ast.StringTerm(c.ProtocolVersion)},
			pair{keySession, ast.StringTerm(c.Session)},
			pair{keyPeer, ast.StringTerm(c.Peer)},
			pair{keyPEP, ast.StringTerm(c.PEP)},
			pair{keyDirection, ast.StringTerm(direction)},
		)},
	}, nil
}

// term returns the input document, of the arguments only those that are read.
func (in *Input) term(read *argumentNames) (*ast.Term, error) {
	members, err := in.surroundings()
	if err != nil {
		return nil, err
	}
	members, err = appendTarget(members, in.Method, in.Tool, in.Resource, in.Prompt)
	if err != nil {
		return nil, err
	}
	if in.Arguments != nil {
		arguments, err := objectTerm(in.Arguments, read)
		if err != nil {
			return nil, fmt.Errorf("the arguments cannot be read: %w", err)
		}
		members = append(members, pair{keyArguments, arguments})
	}
	return ast.ObjectTerm(members...), nil
}

// appendTarget adds what the frame asks for, apart from its arguments.
func appendTarget(members []pair, method string, tool *Tool, uri, prompt string) ([]pair, error) {
	members = append(members, pair{keyMethod, ast.StringTerm(method)})
	if tool != nil {
		term, err := toolTerm(tool)
		if err != nil {
			return nil, err
		}
		members = append(members, pair{keyTool, term})
	}
	if uri != "" {
		r, err := parseResource(uri)
		if err != nil {
			return nil, err
		}
		members = append(members, pair{keyResource, r.term()})
	}
	if prompt != "" {
		members = append(members, pair{keyPrompt, ast.ObjectTerm(pair{keyName, ast.StringTerm(prompt)})})
	}
	return members, nil
}

func grantTerm(g *Grant) *ast.Term {
	if g == nil {
		return ast.InternedNullTerm
	}
	members := []pair{
		{keyID, ast.StringTerm(g.ID)},
		{keyLabels, labelsTerm(g.Labels)},
		{keyServers, stringsTerm(g.Servers)},
		{keyTools, stringsTerm(g.Tools)},
	}
	if !g.ExpiresAt.IsZero() {
		members = append(members, pair{keyExpiresAt, ast.StringTerm(formatTime(g.ExpiresAt))})
	}
	return ast.ObjectTerm(members...)
}

func toolTerm(t *Tool) (*ast.Term, error) {
	annotations := ast.InternedEmptyObject
	if t.Annotations != nil {
		var err error
		if annotations, err = objectTerm(t.Annotations, readAll); err != nil {
			return nil, fmt.Errorf("the tool's annotations cannot be read: %w", err)
		}
	}
	return ast.ObjectTerm(
		pair{keyName, ast.StringTerm(t.Name)},
		pair{keyClass, ast.StringTerm(t.Class)},
		pair{keyRisk, ast.StringTerm(t.Risk)},
		pair{keyTraits, stringsTerm(t.Traits)},
		pair{keyPinned, ast.StringTerm(t.Pinned)},
		pair{keyAnnotations, annotations},
	), nil
}

func (r resource) term() *ast.Term {
	return ast.ObjectTerm(
		pair{keyURI, ast.StringTerm(r.uri)},
		pair{keyRaw, ast.StringTerm(r.raw)},
		pair{keyScheme, ast.StringTerm(r.scheme)},
		pair{keyHost, ast.StringTerm(r.host)},
		pair{keyPath, ast.StringTerm(r.path)},
	)
}

func formatTime(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func stringsTerm(s []string) *ast.Term {
	terms := make([]*ast.Term, len(s))
	for i := range s {
		terms[i] = ast.StringTerm(s[i])
	}
	return ast.ArrayTerm(terms...)
}

func labelsTerm(labels map[string]string) *ast.Term {
	if len(labels) == 0 {
		return ast.InternedEmptyObject
	}
	object := ast.NewObject()
	for name, value := range labels {
		object.Insert(ast.StringTerm(name), ast.StringTerm(value))
	}
	return ast.NewTerm(object)
}

// readAll is for objects of which every member is wanted.
var readAll = &argumentNames{all: true}

// objectTerm reads one JSON object, all of it, and makes terms of those of its
// members that are to be read. Names must be unique, strings valid UTF-8, and
// numbers keep every digit that they have.
func objectTerm(b []byte, read *argumentNames) (*ast.Term, error) {
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
func readObject(dec *jsontext.Decoder, read *argumentNames) (*ast.Term, error) {
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
