package console

import (
	"cmp"
	"slices"
	"strings"

	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

const (
	mostRules    = 500
	mostFindings = 200
	mostLines    = 20_000 // of one file
)

func (c *Console) policyRoutes() []route {
	return []route{
		{pattern: "GET /policy", least: signin.Viewer, serve: c.policyPage},
		{pattern: "GET /policy/file", least: signin.Viewer, serve: c.policyFilePage},
	}
}

// policyView is what is in force, and what was said of it.
type policyView struct {
	policy.Status
	Sets     []ruleCount
	Total    int
	Rules    []policy.EffectRule
	Files    []policyFile
	Cut      bool // there are more findings
	MoreThan int  // rules than are shown; 0: all are
	Unused   int  // rules that no index finds
}

// ruleCount is how many rules a set has.
type ruleCount struct {
	Path  string
	Rules int
}

// policyFile is a file of the policy.
type policyFile struct {
	Path         string
	Lines, Rules int
}

func (c *Console) policyPage(v *visit) error {
	view := policyView{Status: c.policy.Status()}
	for path, n := range view.Status.Rules {
		view.Sets = append(view.Sets, ruleCount{path, n})
		view.Total += n
	}
	slices.SortFunc(view.Sets, func(a, b ruleCount) int { return cmp.Compare(a.Path, b.Path) })
	for _, f := range view.Findings {
		if f.Check == policy.CheckNotIndexed {
			view.Unused++
		}
	}
	if view.Cut = len(view.Findings) > mostFindings; view.Cut {
		view.Findings = view.Findings[:mostFindings]
	}
	if p := c.policy.Current(); p != nil {
		view.Rules = p.RuleTable()
		rules := map[string]int{}
		for _, r := range view.Rules {
			rules[r.File]++
		}
		for _, f := range p.Files() {
			view.Files = append(view.Files, policyFile{f.Path, strings.Count(f.Source, "\n"), rules[f.Path]})
		}
		if len(view.Rules) > mostRules {
			view.Rules, view.MoreThan = view.Rules[:mostRules], mostRules
		}
	}
	return v.show("policy", view)
}

// policyFileView is one file with its lines.
type policyFileView struct {
	Path  string
	Lines []fileLine
	Cut   bool
}

// fileLine is a line, and what there is to say about it.
type fileLine struct {
	sourceLine
	Rule     *policy.EffectRule
	Findings []policy.Finding
}

func (c *Console) policyFilePage(v *visit) error {
	path := v.r.URL.Query().Get("path")
	p := c.policy.Current()
	if p == nil {
		return notFound("No policy is in force. The policy page says why.")
	}
	files := p.Files()
	i := fileNamed(files, path)
	if i < 0 {
		return notFound("The policy in force has no such file. The policy page has its files.")
	}
	view := policyFileView{Path: path}
	lines := strings.Split(strings.TrimSuffix(files[i].Source, "\n"), "\n")
	if view.Cut = len(lines) > mostLines; view.Cut {
		lines = lines[:mostLines]
	}
	view.Lines = make([]fileLine, len(lines))
	for n, text := range lines {
		view.Lines[n].sourceLine = sourceLine{Number: n + 1, Text: text}
	}
	for _, r := range p.RuleTable() {
		if r.File == path && r.Line <= len(lines) {
			view.Lines[r.Line-1].Rule, view.Lines[r.Line-1].Mark = &r, true
		}
	}
	for _, f := range c.policy.Status().Findings {
		if strings.TrimPrefix(f.File, "/") == path && f.Line >= 1 && f.Line <= len(lines) {
			view.Lines[f.Line-1].Findings = append(view.Lines[f.Line-1].Findings, f)
		}
	}
	return v.show("policy-file", view)
}
