package pdp

import (
	"github.com/go-json-experiment/json"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/identity"
	"github.com/mcpermit/mcpermit/pdp/policy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func evidence(e *v1.Evidence) identity.Evidence {
	return identity.Evidence{BearerToken: e.GetBearerToken(), Peer: e.GetPeer(), PeerCertificates: e.GetPeerCertificates(), Resource: e.GetResource()}
}

// input is the document that the policy sees for the frame.
func (e *Engine) input(d *decision) *policy.Input {
	req := d.req
	in := e.base(d, req.GetServer(), req.GetClient(), req.GetContext(), req.GetEvidence().GetPeer())
	aim(in, req.GetMethod(), req.GetTarget().GetName(), req.GetArguments(), d.tool)
	return in
}

// aim says what the frame asks for.
func aim(in *policy.Input, method, name string, args []byte, tool *catalog.Tool) {
	in.Method, in.Arguments = method, arguments(method, args)
	switch method {
	case "tools/call":
		in.Tool = policyTool(tool)
	case "prompts/get":
		in.Prompt = name
	case "resources/read", "resources/subscribe", "resources/unsubscribe", "notifications/resources/updated":
		in.Resource = name
	case "completion/complete":
		// Decided as what its `ref` names: values of arguments can reveal what
		// the prompt or the template is there to protect.
		if refersToPrompt(args) {
			in.Prompt = name
		} else {
			in.Resource = name
		}
	}
}

// arguments are those that the policy sees. A call without any is a call with
// none: every server reads it so, and rules need not tell the two apart.
func arguments(method string, sent []byte) []byte {
	if len(sent) > 0 {
		return sent
	}
	if method == "tools/call" || method == "prompts/get" {
		return []byte("{}")
	}
	return nil
}

func refersToPrompt(params []byte) bool {
	var p struct {
		Ref struct {
			Type string `json:"type"`
		} `json:"ref"`
	}
	return json.Unmarshal(params, &p) == nil && p.Ref.Type == "ref/prompt"
}

func (e *Engine) base(d *decision, server string, client *v1.Client, c *v1.FrameContext, peer string) *policy.Input {
	s := e.Servers[server]
	return &policy.Input{
		Subject: policySubject(&d.who.Subject),
		Grant:   policyGrant(d.who),
		Client:  policy.Client{Name: client.GetName(), Version: client.GetVersion()},
		Server:  policy.Server{Name: server, Labels: s.Labels, Trusted: s.Trusted},
		Context: policy.Context{
			Time: d.start, Transport: transports[c.GetTransport()], ProtocolVersion: c.GetProtocolVersion(),
			// Never the session id itself, which is a secret, and not on record.
			Session: string(audit.HashSession(c.GetSession())), Peer: peer, PEP: c.GetPep(), Direction: directions[c.GetDirection()],
		},
	}
}

var transports = map[v1.Transport]string{
	v1.Transport_TRANSPORT_HTTP:  "http",
	v1.Transport_TRANSPORT_STDIO: "stdio",
	v1.Transport_TRANSPORT_ENVOY: "envoy",
}

var directions = map[v1.Direction]string{
	v1.Direction_DIRECTION_TO_SERVER: "to_server",
	v1.Direction_DIRECTION_TO_CLIENT: "to_client",
}

func policySubject(s *identity.Subject) policy.Subject {
	return policy.Subject{
		ID: s.ID, Type: s.Type, Groups: s.Groups,
		Issuer: s.Issuer, Actor: s.Actor, Scopes: s.Scopes, Claims: s.Claims,
	}
}

func policyGrant(who *identity.Identity) *policy.Grant {
	g := who.Grant
	if g == nil {
		return nil
	}
	return &policy.Grant{
		ID: g.ID, Labels: g.Labels, Servers: g.Servers, Tools: g.Tools, Classes: g.Classes,
		Policies: who.Policies(), Parent: g.Parent, ExpiresAt: g.ExpiresAt,
	}
}

func policyTool(t *catalog.Tool) *policy.Tool {
	if t == nil {
		return nil
	}
	return &policy.Tool{Name: t.Name, Class: t.Class, Risk: t.Risk, Traits: t.Traits, Pinned: t.Pinned, Annotations: t.Annotations}
}

func isListing(method string) bool {
	switch method {
	case "tools/list", "resources/list", "resources/templates/list", "prompts/list":
		return true
	}
	return false
}

func matched(rules []policy.Rule) []*v1.MatchedRule {
	out := make([]*v1.MatchedRule, len(rules))
	for i, r := range rules {
		out[i] = &v1.MatchedRule{Path: r.Path, Id: r.ID, File: r.File, Line: int32(r.Line), Title: r.Title, Reason: r.Reason}
	}
	return out
}
