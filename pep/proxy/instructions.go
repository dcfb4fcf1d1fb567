package proxy

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/mcpermit/mcpermit/pep/mcp"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// handshake says of a method that its result introduces the server.
func handshake(method string) bool { return method == "initialize" || method == "server/discover" }

// instructions returns the result of a handshake as the client may see it. Where
// its instructions name what the subject must not know of, they are emptied: a
// text with holes in it would still tell. (I3) What the server lists is asked for
// where that can be done before the handshake is over, and is otherwise known
// from its other sessions; of a server that nobody has asked to list anything
// yet, the instructions pass as they are.
func (a *act) instructions(f *mcp.Frame) []byte {
	at, end, ok := place(f.Bytes, "result", "instructions")
	if !ok || f.Bytes[at] != '"' {
		return f.Bytes
	}
	text := unquote(f.Bytes[at:end])
	for _, method := range []string{"tools/list", "prompts/list"} {
		if named := a.named(method, text); len(named) > 0 && !a.mayKnow(method, named) {
			out := append(make([]byte, 0, len(f.Bytes)), f.Bytes[:at]...)
			return append(append(out, `""`...), f.Bytes[end:]...)
		}
	}
	return f.Bytes
}

// named are the items of a listing whose names the text mentions.
func (a *act) named(method, text string) (items []*v1.Target) {
	known := []*listing{a.listing(method, a.session == "")}
	if known[0] == nil {
		known = a.up.recent.of(method)
	}
	seen := map[string]bool{}
	for _, l := range known {
		for name, definition := range l.items {
			if !seen[name] && mentions(text, name) {
				items = append(items, &v1.Target{Name: name, Definition: definition})
			}
			seen[name] = true
		}
	}
	return items
}

// mayKnow says whether the subject may know of all the items.
func (a *act) mayKnow(method string, items []*v1.Target) bool {
	q := a.about(v1.Direction_DIRECTION_TO_SERVER)
	keep, ok := a.p.o.Enforcer.DecideList(a.ctx, &v1.DecideListRequest{
		Evidence: q.GetEvidence(), Client: q.GetClient(), Server: q.GetServer(), Context: q.GetContext(),
		Method: method, DecisionId: a.decision.GetDecisionId(), Items: items,
	})
	for _, k := range keep {
		ok = ok && k
	}
	return ok
}

// mentions reports whether a name stands in a text as a word of its own, in any
// case of letters.
func mentions(text, name string) bool {
	if name == "" {
		return false
	}
	text, name = strings.ToLower(text), strings.ToLower(name)
	for from := 0; ; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		at := from + i
		before, _ := utf8.DecodeLastRuneInString(text[:at])
		after, _ := utf8.DecodeRuneInString(text[at+len(name):])
		if !isWord(before) && !isWord(after) {
			return true
		}
		from = at + 1
	}
}

func isWord(r rune) bool { return r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r) }
