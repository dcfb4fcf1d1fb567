package policy

import "github.com/open-policy-agent/opa/v1/ast"

// inputReads is what a decision can read of the input document: the rules of a
// policy, and those of the library that are asked beside the plans. What no rule reads need not be turned into terms, which
// is most of the work of a decision, and for a large call nearly all of it.
type inputReads struct {
	all     bool // also what stands below each member
	members map[string]*names
}

// names are the members of an object that are read.
type names struct {
	all bool
	set map[string]struct{}
}

// readAll and readEverything are for what is wanted whole.
var (
	readNothing    = &names{}
	readAll        = &names{all: true}
	readEverything = &inputReads{all: true}
)

// of returns what is read of a member of the input document; nil is nothing.
func (r *inputReads) of(member *ast.Term) *names {
	if r.all {
		return readAll
	}
	return r.members[text(member)]
}

// text is the string that a constant term is.
func text(term *ast.Term) string {
	s, _ := term.Value.(ast.String)
	return string(s)
}

func (n *names) has(name string) bool {
	if n == nil || n.all {
		return n != nil
	}
	_, ok := n.set[name]
	return ok
}

// newInputReads works out what is read from modules whose references are
// resolved.
func newInputReads(modules map[string]*ast.Module) *inputReads {
	r := &inputReads{members: map[string]*names{}}
	for file, module := range modules {
		if file == definitionFile {
			continue // asked with readEverything, by those who explain
		}
		_, library := libraryModules()[file]
		for _, rule := range module.Rules {
			r.walk(rule, library)
		}
	}
	return r
}

// attachmentsRef is what the library reads of a grant. Where there are none, it does
// as well without, and documents have them whenever there are (term.go).
var attachmentsRef = ast.InputRootRef.Append(keyGrant).Append(keyPolicies)

func (r *inputReads) walk(node any, library bool) {
	ast.WalkTerms(node, func(term *ast.Term) bool {
		switch value := term.Value.(type) {
		case ast.Ref:
			if !library || !value.HasPrefix(attachmentsRef) {
				r.ref(value)
			}
			for _, part := range value[1:] {
				r.walk(part, library)
			}
			return true
		case ast.Var:
			r.all = r.all || term.Equal(ast.InputRootDocument)
		}
		return false
	})
}

// ref adds what a reference reads: input.<member>.<name>, or the whole of what
// its constant part leads to.
func (r *inputReads) ref(ref ast.Ref) {
	if !ref[0].Equal(ast.InputRootDocument) {
		return
	}
	if len(ref) == 1 {
		r.all = true
		return
	}
	member, constant := ref[1].Value.(ast.String)
	if !constant {
		r.all = true
		return
	}
	n := r.members[string(member)]
	if n == nil {
		n = &names{set: map[string]struct{}{}}
		r.members[string(member)] = n
	}
	if len(ref) > 2 {
		if name, constant := ref[2].Value.(ast.String); constant {
			n.set[string(name)] = struct{}{}
			return
		}
	}
	n.all = true
}
