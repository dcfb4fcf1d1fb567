package policy

import (
	"maps"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"
)

// effect is an effect rule with what the checks ask of it.
type effect struct {
	rule  *ast.Rule
	path  string // "policy.servers.stripe.deny"
	part  string // globalPart, serversPart or attachmentsPart
	name  string // of the team, server or attachment
	set   string
	own   *facts // what its own body does
	all   *facts // and what it uses
	scope map[string][]string
}

func (p *program) effect(r *ast.Rule, part, name, set string) *effect {
	e := &effect{rule: r, path: rulePath(r), part: part, name: name, set: set, own: p.of(r), all: p.reach(r)}
	e.scope = maps.Clone(e.own.scope)
	if part == serversPart {
		e.scope[pathServer] = []string{name}
	}
	if e.scope[pathMethod] == nil && (e.all.tests[pathTool] || e.all.tests[pathClass]) {
		e.scope[pathMethod] = []string{"tools/call"} // only there is a tool
	}
	return e
}

// meeting finds the rules that speak of the same calls as another, without
// comparing each with each.
type meeting struct{ denying, opening byTool }

// byTool are rules by their server ("" for all of them) and by each tool that
// they name ("" for those that name none). Those of attachments are at anyServer
// alone, as they hold for none but some grants.
type byTool map[[2]string][]*effect

func newMeeting(p *program) *meeting {
	m := &meeting{denying: byTool{}, opening: byTool{}}
	for _, e := range p.effects {
		switch {
		case e.set == setDeny && len(e.own.absent) > 0:
			m.denying.add(e)
		case e.opens():
			m.opening.add(e)
		}
	}
	return m
}

// opens says that the rule can let a call pass that nothing else does.
func (e *effect) opens() bool {
	return e.part != attachmentsPart && (e.set == setAllow || e.set == setApprove)
}

// anyServer stands for the rules of all places together.
const anyServer = "*"

func (b byTool) add(e *effect) {
	place := ""
	if e.part == serversPart {
		place = e.name
	}
	tools := e.scope[pathTool]
	if len(tools) == 0 {
		tools = []string{""}
	}
	for _, tool := range tools {
		places := []string{place, anyServer}
		if e.part == attachmentsPart {
			places = places[1:]
		}
		for _, at := range places {
			b[[2]string{at, tool}] = append(b[[2]string{at, tool}], e)
		}
	}
}

// find returns a rule that surely speaks of calls that e is about, and for
// which ok holds.
func (b byTool) find(e *effect, ok func(*effect) bool) *effect {
	places := []string{anyServer}
	if e.part == serversPart {
		places = []string{e.name, ""}
	}
	for _, tool := range append([]string{""}, e.scope[pathTool]...) {
		for _, place := range places {
			for _, other := range b[[2]string{place, tool}] {
				if ok(other) && other.holdsWith(e) && e.meets(other) {
					return other
				}
			}
		}
	}
	return nil
}

// holdsWith says whether e holds wherever another does: a rule of an attachment
// only with the others of it.
func (e *effect) holdsWith(other *effect) bool {
	return e.part != attachmentsPart || other.part == attachmentsPart && other.name == e.name
}

// meets reports whether what other is limited to surely overlaps what e is
// limited to.
func (e *effect) meets(other *effect) bool {
	sameTool := overlap(e.scope[pathTool], other.scope[pathTool])
	for _, path := range [...]string{pathMethod, pathServer, pathTool, pathClass} {
		a, b := e.scope[path], other.scope[path]
		switch {
		case len(b) == 0 && !other.all.tests[path], overlap(a, b):
		case len(a) > 0 && len(b) > 0:
			return false
		case path == pathMethod, path == pathServer, path == pathClass && sameTool:
			// Of a rule for all servers, and of a named tool, some calls are.
		default:
			return false
		}
	}
	return true
}

func overlap(a, b []string) bool {
	return slices.ContainsFunc(a, func(s string) bool { return slices.Contains(b, s) })
}
