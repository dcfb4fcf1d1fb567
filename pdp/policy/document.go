package policy

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/open-policy-agent/opa/v1/ast"
)

// Document returns the input as the JSON document that rules see, with sorted
// names. InputFromJSON reads it back.
func (in *Input) Document() ([]byte, error) {
	term, err := in.term(readEverything)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = writeValue(jsontext.NewEncoder(&b), term.Value)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func writeValue(enc *jsontext.Encoder, value ast.Value) error {
	switch v := value.(type) {
	case ast.Null:
		return enc.WriteToken(jsontext.Null)
	case ast.Boolean:
		return enc.WriteToken(jsontext.Bool(bool(v)))
	case ast.Number:
		return enc.WriteValue(jsontext.Value(v)) // every digit
	case ast.String:
		return enc.WriteToken(jsontext.String(string(v)))
	case *ast.Array:
		if err := enc.WriteToken(jsontext.BeginArray); err != nil {
			return err
		}
		if err := v.Iter(func(item *ast.Term) error { return writeValue(enc, item.Value) }); err != nil {
			return err
		}
		return enc.WriteToken(jsontext.EndArray)
	case ast.Object:
		if err := enc.WriteToken(jsontext.BeginObject); err != nil {
			return err
		}
		err := v.Iter(func(name, member *ast.Term) error {
			if err := writeValue(enc, name.Value); err != nil {
				return err
			}
			return writeValue(enc, member.Value)
		})
		if err != nil {
			return err
		}
		return enc.WriteToken(jsontext.EndObject)
	}
	return fmt.Errorf("a %T is not JSON", value)
}

// The members of the input document, as rego/schemas/input.json has them.
type (
	inputDocument struct {
		Subject   subjectDocument   `json:"subject"`
		Grant     *grantDocument    `json:"grant"`
		Client    clientDocument    `json:"client"`
		Server    serverDocument    `json:"server"`
		Method    string            `json:"method"`
		Tool      *toolDocument     `json:"tool"`
		Resource  *resourceDocument `json:"resource"`
		Prompt    *promptDocument   `json:"prompt"`
		Arguments jsontext.Value    `json:"arguments"`
		Context   contextDocument   `json:"context"`
	}
	subjectDocument struct {
		ID     string         `json:"id"`
		Type   string         `json:"type"`
		Groups []string       `json:"groups"`
		Issuer string         `json:"issuer"`
		Actor  *actorDocument `json:"actor"`
		Scopes []string       `json:"scopes"`
		Claims jsontext.Value `json:"claims"`
	}
	actorDocument struct {
		ID string `json:"id"`
	}
	grantDocument struct {
		ID        string            `json:"id"`
		Labels    map[string]string `json:"labels"`
		Servers   []string          `json:"servers"`
		Tools     []string          `json:"tools"`
		Classes   []string          `json:"classes"`
		Policies  []string          `json:"policies"`
		Parent    string            `json:"parent"`
		ExpiresAt string            `json:"expires_at"`
	}
	clientDocument struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	serverDocument struct {
		Name    string            `json:"name"`
		Labels  map[string]string `json:"labels"`
		Trusted bool              `json:"trusted"`
	}
	toolDocument struct {
		Name        string         `json:"name"`
		Class       string         `json:"class"`
		Risk        string         `json:"risk"`
		Traits      []string       `json:"traits"`
		Pinned      string         `json:"pinned"`
		Annotations jsontext.Value `json:"annotations"`
	}
	resourceDocument struct {
		URI    string `json:"uri"`
		Raw    string `json:"raw"`
		Scheme string `json:"scheme"`
		Host   string `json:"host"`
		Path   string `json:"path"`
	}
	promptDocument struct {
		Name string `json:"name"`
	}
	contextDocument struct {
		Time            string `json:"time"`
		Transport       string `json:"transport"`
		ProtocolVersion string `json:"protocol_version"`
		Session         string `json:"session"`
		Peer            string `json:"peer"`
		PEP             string `json:"pep"`
		Direction       string `json:"direction"`
	}
)

// InputFromJSON reads one input document, for replaying and explaining what was
// recorded, or what a person has written. Unknown, repeated and differently
// typed members are errors; missing ones are empty, apart from method and
// server.name. Of a resource only raw (or uri) is needed, and what else is
// given must be what it normalises to.
func InputFromJSON(document []byte) (*Input, error) {
	var d inputDocument
	if err := json.Unmarshal(document, &d, json.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("not an input document: %w", err)
	}
	in, err := d.input()
	if err != nil {
		return nil, fmt.Errorf("not an input document: %w", err)
	}
	if _, err := in.term(readEverything); err != nil { // what Decide would find
		return nil, fmt.Errorf("not an input document: %w", err)
	}
	return in, nil
}

func (d *inputDocument) input() (*Input, error) {
	if d.Method == "" || d.Server.Name == "" {
		return nil, errors.New("method and server.name must be given")
	}
	in := &Input{
		Subject:   d.Subject.subject(),
		Client:    Client(d.Client),
		Server:    Server(d.Server),
		Method:    d.Method,
		Arguments: d.Arguments,
		Context: Context{
			Transport: d.Context.Transport, ProtocolVersion: d.Context.ProtocolVersion, Session: d.Context.Session,
			Peer: d.Context.Peer, PEP: d.Context.PEP, Direction: d.Context.Direction,
		},
	}
	var err error
	if in.Grant, err = d.Grant.grant(); err != nil {
		return nil, err
	}
	if in.Resource, err = d.Resource.raw(); err != nil {
		return nil, err
	}
	if in.Context.Time, err = parseTime("context.time", d.Context.Time); err != nil {
		return nil, err
	}
	if d.Tool != nil {
		tool := Tool{Name: d.Tool.Name, Class: d.Tool.Class, Risk: d.Tool.Risk, Traits: d.Tool.Traits, Pinned: d.Tool.Pinned, Annotations: d.Tool.Annotations}
		in.Tool = &tool
	}
	if d.Prompt != nil {
		in.Prompt = d.Prompt.Name
	}
	return in, nil
}

func (d *subjectDocument) subject() Subject {
	s := Subject{ID: d.ID, Type: d.Type, Groups: d.Groups, Issuer: d.Issuer, Scopes: d.Scopes}
	if d.Actor != nil {
		s.Actor = d.Actor.ID
	}
	if claims := string(d.Claims); claims != "null" && claims != "{}" {
		s.Claims = d.Claims
	}
	return s
}

func (d *grantDocument) grant() (*Grant, error) {
	if d == nil {
		return nil, nil
	}
	expires, err := parseTime("grant.expires_at", d.ExpiresAt)
	return &Grant{
		ID: d.ID, Labels: d.Labels, Servers: d.Servers, Tools: d.Tools, Classes: d.Classes,
		Policies: d.Policies, Parent: d.Parent, ExpiresAt: expires,
	}, err
}

func (d *resourceDocument) raw() (string, error) {
	if d == nil {
		return "", nil
	}
	raw := d.Raw
	if raw == "" {
		raw = d.URI
	}
	r, err := parseResource(raw)
	if err != nil {
		return "", err
	}
	for _, member := range [][3]string{{"uri", d.URI, r.uri}, {"scheme", d.Scheme, r.scheme}, {"host", d.Host, r.host}, {"path", d.Path, r.path}} {
		if member[1] != "" && member[1] != member[2] && (member[0] != "uri" || d.Raw != "") {
			return "", fmt.Errorf("resource.%s is %q, but the URI says %q", member[0], member[1], member[2])
		}
	}
	return raw, nil
}

func parseTime(name, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return time.Time{}, fmt.Errorf("%s must be a time like 2026-07-28T12:00:00Z", name)
	}
	return t, nil
}
