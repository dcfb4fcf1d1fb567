package policy

import (
	"fmt"
	"time"

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
	keyIssuer    = ast.StringTerm("issuer")
	keyActor     = ast.StringTerm("actor")
	keyScopes    = ast.StringTerm("scopes")
	keyClaims    = ast.StringTerm("claims")
	keyLabels    = ast.StringTerm("labels")
	keyServers   = ast.StringTerm("servers")
	keyTools     = ast.StringTerm("tools")
	keyClasses   = ast.StringTerm("classes")
	keyPolicies  = ast.StringTerm("policies")
	keyParent    = ast.StringTerm("parent")
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
func (in *Input) surroundings(r *inputReads) ([]pair, error) {
	subject, err := in.Subject.term(r.of(keySubject))
	if err != nil {
		return nil, err
	}
	members := make([]pair, 0, 9)
	for _, m := range [...]pair{
		{keySubject, subject},
		{keyGrant, in.Grant.term(r.of(keyGrant))},
		{keyClient, in.Client.term(r.of(keyClient))},
		{keyServer, in.Server.term(r.of(keyServer))},
		{keyContext, in.Context.term(r.of(keyContext))},
	} {
		if m[1] != nil {
			members = append(members, m)
		}
	}
	return members, nil
}

// term returns the input document, as far as it is read. Arguments are checked
// whole.
func (in *Input) term(r *inputReads) (*ast.Term, error) {
	members, err := in.surroundings(r)
	if err != nil {
		return nil, err
	}
	members, err = appendTarget(members, r, in.Method, in.Tool, in.Resource, in.Prompt)
	if err != nil {
		return nil, err
	}
	if in.Arguments != nil {
		arguments, err := objectTerm(in.Arguments, r.of(keyArguments))
		if err != nil {
			return nil, fmt.Errorf("the arguments cannot be read: %w", err)
		}
		members = append(members, pair{keyArguments, arguments})
	}
	return ast.ObjectTerm(members...), nil
}

// appendTarget adds what the frame asks for, apart from its arguments.
func appendTarget(members []pair, r *inputReads, method string, tool *Tool, uri, prompt string) ([]pair, error) {
	members = append(members, pair{keyMethod, ast.StringTerm(method)})
	if n := r.of(keyTool); tool != nil && n != nil {
		term, err := tool.term(n)
		if err != nil {
			return nil, err
		}
		members = append(members, pair{keyTool, term})
	}
	if uri != "" {
		target, err := parseResource(uri)
		if err != nil {
			return nil, err
		}
		members = append(members, pair{keyResource, target.term()})
	}
	if prompt != "" {
		members = append(members, pair{keyPrompt, ast.ObjectTerm(pair{keyName, ast.StringTerm(prompt)})})
	}
	return members, nil
}

// object gathers those members of an object that are read.
type object struct {
	reads   *names
	members []pair
}

func newObject(reads *names, most int) object {
	if !reads.all {
		most = min(most, len(reads.set))
	}
	return object{reads, make([]pair, 0, most)}
}

func (o *object) has(key *ast.Term) bool { return o.reads.has(text(key)) }

func (o *object) put(key, value *ast.Term) { o.members = append(o.members, pair{key, value}) }

func (o *object) string(key *ast.Term, value string) {
	if o.has(key) {
		o.put(key, ast.StringTerm(value))
	}
}

func (o *object) strings(key *ast.Term, values []string) {
	if o.has(key) {
		o.put(key, stringsTerm(values))
	}
}

func (o *object) labels(key *ast.Term, values map[string]string) {
	if o.has(key) {
		o.put(key, labelsTerm(values))
	}
}

func (o *object) term() *ast.Term { return ast.ObjectTerm(o.members...) }

func (s *Subject) term(n *names) (*ast.Term, error) {
	if n == nil {
		return nil, nil
	}
	o := newObject(n, 7)
	o.string(keyID, s.ID)
	o.string(keyType, s.Type)
	o.strings(keyGroups, s.Groups)
	o.string(keyIssuer, s.Issuer)
	o.strings(keyScopes, s.Scopes)
	if o.has(keyActor) {
		o.put(keyActor, s.actor())
	}
	if o.has(keyClaims) {
		claims := ast.InternedEmptyObject
		if len(s.Claims) > 0 {
			var err error
			if claims, err = objectTerm(s.Claims, readAll); err != nil {
				return nil, fmt.Errorf("the subject's claims cannot be read: %w", err)
			}
		}
		o.put(keyClaims, claims)
	}
	return o.term(), nil
}

func (s *Subject) actor() *ast.Term {
	if s.Actor == "" {
		return ast.InternedNullTerm
	}
	return ast.ObjectTerm(pair{keyID, ast.StringTerm(s.Actor)})
}

func (g *Grant) term(n *names) *ast.Term {
	switch attached := g != nil && len(g.Policies) > 0; {
	case n == nil && attached:
		n = readNothing
	case n == nil:
		return nil
	case g == nil:
		return ast.InternedNullTerm
	}
	o := newObject(n, 8)
	o.string(keyID, g.ID)
	o.labels(keyLabels, g.Labels)
	o.strings(keyServers, g.Servers)
	o.strings(keyTools, g.Tools)
	o.strings(keyClasses, g.Classes)
	if len(g.Policies) > 0 || o.has(keyPolicies) { // the library reads those that there are
		o.put(keyPolicies, stringsTerm(g.Policies))
	}
	o.string(keyParent, g.Parent)
	if !g.ExpiresAt.IsZero() && o.has(keyExpiresAt) {
		o.put(keyExpiresAt, ast.StringTerm(formatTime(g.ExpiresAt)))
	}
	return o.term()
}

func (c *Client) term(n *names) *ast.Term {
	if n == nil {
		return nil
	}
	o := newObject(n, 2)
	o.string(keyName, c.Name)
	o.string(keyVersion, c.Version)
	return o.term()
}

func (s *Server) term(n *names) *ast.Term {
	if n == nil {
		return nil
	}
	o := newObject(n, 3)
	o.string(keyName, s.Name)
	o.labels(keyLabels, s.Labels)
	if o.has(keyTrusted) {
		o.put(keyTrusted, ast.InternedTerm(s.Trusted))
	}
	return o.term()
}

func (c *Context) term(n *names) *ast.Term {
	if n == nil {
		return nil
	}
	direction := c.Direction
	if direction == "" {
		direction = "to_server"
	}
	o := newObject(n, 7)
	if o.has(keyTime) {
		o.put(keyTime, ast.StringTerm(formatTime(c.Time)))
	}
	o.string(keyTransport, c.Transport)
	o.string(keyProtocolVersion, c.ProtocolVersion)
	o.string(keySession, c.Session)
	o.string(keyPeer, c.Peer)
	o.string(keyPEP, c.PEP)
	o.string(keyDirection, direction)
	return o.term()
}

func (t *Tool) term(n *names) (*ast.Term, error) {
	o := newObject(n, 6)
	o.string(keyName, t.Name)
	o.string(keyClass, t.Class)
	o.string(keyRisk, t.Risk)
	o.strings(keyTraits, t.Traits)
	o.string(keyPinned, t.Pinned)
	if o.has(keyAnnotations) {
		annotations := ast.InternedEmptyObject
		if t.Annotations != nil {
			var err error
			if annotations, err = objectTerm(t.Annotations, readAll); err != nil {
				return nil, fmt.Errorf("the tool's annotations cannot be read: %w", err)
			}
		}
		o.put(keyAnnotations, annotations)
	}
	return o.term(), nil
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
	if len(s) == 0 {
		return ast.InternedEmptyArray
	}
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
