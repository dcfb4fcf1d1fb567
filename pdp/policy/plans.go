package policy

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/open-policy-agent/opa/v1/ast"
)

// plans has the plan of every server that has a package of its own, and of the
// combinations of attachments that grants name. It is safe for concurrent use, and
// reading it takes no lock.
type plans struct {
	servers map[string]*serverPlan
	others  *serverPlan // a server that has none is decided by the global packages alone

	attachments map[string]attachment
	combined    sync.Map // combination → *plan
	combining   atomic.Int64
}

// serverPlan is what a server's frames are decided by under a grant without
// attachments.
type serverPlan struct {
	plan
	sets sets
}

// attachment is a package policy.attachments.<name>.
type attachment struct {
	number uint32
	sets   sets
}

// combination is a server and the numbers of attachments, four bytes for each.
type combination struct {
	server      *serverPlan
	attachments string
}

// maxCombinations is how many combinations are kept. Grants that their holders
// make can name many; what is not kept is put together each time, which takes
// about as long as the decision.
const maxCombinations = 1000

func newPlans(c *ast.Compiler, attachments []string) (*plans, error) {
	root := ast.DefaultRootRef.Append(ast.StringTerm(policyRoot))
	global := packagesUnder(c, root.Append(ast.StringTerm(globalPart)))
	p := &plans{servers: map[string]*serverPlan{}, attachments: map[string]attachment{}}
	var err error
	if p.others, err = newServerPlan(c, global); err != nil {
		return nil, err
	}
	for _, own := range packagesUnder(c, root.Append(ast.StringTerm(serversPart))) {
		name := text(own[len(own)-1])
		if p.servers[name], err = newServerPlan(c, append(slices.Clip(global), own)); err != nil {
			return nil, err
		}
	}
	part := root.Append(ast.StringTerm(attachmentsPart))
	for i, name := range attachments {
		a := attachment{number: uint32(i)}
		if a.sets, err = newSets(c, fmt.Sprintf("attachment%d_", i), []ast.Ref{part.Append(ast.StringTerm(name))}); err != nil {
			return nil, err
		}
		p.attachments[name] = a
	}
	return p, nil
}

func newServerPlan(c *ast.Compiler, packages []ast.Ref) (*serverPlan, error) {
	own, err := newSets(c, "", packages)
	if err != nil {
		return nil, err
	}
	return &serverPlan{*newPlan(own), own}, nil
}

// of returns the plan of a server's frames under a grant, and those attachments
// that the grant names and the policy does not have.
func (p *plans) of(server string, g *Grant) (_ *plan, unknown []string) {
	own, ok := p.servers[server]
	if !ok {
		own = p.others
	}
	if g == nil || len(g.Policies) == 0 {
		return &own.plan, nil
	}
	var known []attachment
	for _, name := range slices.Compact(slices.Sorted(slices.Values(g.Policies))) {
		if a, ok := p.attachments[name]; ok {
			known = append(known, a)
		} else {
			unknown = append(unknown, name)
		}
	}
	if len(known) == 0 {
		return &own.plan, unknown
	}
	return p.combine(own, known), unknown
}

func (p *plans) combine(own *serverPlan, attachments []attachment) *plan {
	key := make([]byte, 0, 4*len(attachments))
	for _, a := range attachments {
		key = binary.BigEndian.AppendUint32(key, a.number)
	}
	of := combination{own, string(key)}
	if known, ok := p.combined.Load(of); ok {
		return known.(*plan)
	}
	all := make([]sets, len(attachments))
	for i, a := range attachments {
		all[i] = a.sets
	}
	made := newPlan(own.sets, all...)
	if p.combining.Add(1) > maxCombinations {
		p.combining.Add(-1)
		return made
	}
	kept, again := p.combined.LoadOrStore(of, made)
	if again {
		p.combining.Add(-1)
	}
	return kept.(*plan)
}
