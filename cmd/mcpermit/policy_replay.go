package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/policy"
)

// PolicyReplayCmd is `mcpermit policy replay`.
type PolicyReplayCmd struct {
	Path string `arg:"" help:"Policy to try: directory, bundle.tar.gz, or URL of one." placeholder:"PATH"`
	auditFilter
	Limit int    `default:"0" help:"The last so many decisions; 0 for all." placeholder:"N"`
	Dir   string `type:"path" help:"Read the trail in this directory instead of asking a PDP." placeholder:"DIR"`
	All   bool   `help:"Show the decisions that stay the same as well."`
}

// Help is shown below the flags' synopsis by --help.
func (*PolicyReplayCmd) Help() string {
	return `Makes recorded decisions again, under another policy, and shows which change:

  mcpermit policy replay --since 7d ./policy

It exits with 1 when some do. What a record does not have cannot be made again:
decisions for which no policy was asked, and arguments that are masked or too
long for the record. Those are counted.`
}

// replayedView is one decision, as it was and as it would be.
type replayedView struct {
	Time     time.Time `json:"time"`
	Decision string    `json:"decision_id"`
	Subject  string    `json:"subject"`
	Server   string    `json:"server"`
	Method   string    `json:"method"`
	Name     string    `json:"name,omitempty"`
	Changed  bool      `json:"changed"`
	Was      saidView  `json:"was"`
	Is       saidView  `json:"is"`
}

// saidView is what a policy says: the effect, or "no rule", and the rules by path
// and id. Where in a file a rule stands makes no difference.
type saidView struct {
	Effect string   `json:"effect"`
	Rules  []string `json:"rules"`
	Error  string   `json:"error,omitempty"`
}

// whyNot are the reasons for which a decision is not replayed.
var whyNot = []error{pdp.ErrNotByPolicy, pdp.ErrMasked, pdp.ErrTruncated}

// replayTally counts the decisions.
type replayTally struct {
	Same        int            `json:"same"`
	Changed     int            `json:"changed"`
	NotReplayed map[string]int `json:"not_replayed"`
}

// Run replays.
func (c *PolicyReplayCmd) Run(g *Globals) error {
	f, err := c.parse(time.Now())
	if err != nil {
		return err
	}
	snapshot, err := buildPolicy(context.Background(), c.Path)
	if err != nil {
		return err
	}
	tally := replayTally{NotReplayed: map[string]int{}}
	err = g.auditRecords(c.Dir, f, c.Limit, func(b []byte) error {
		r, err := audit.ParseRecord(b)
		if err != nil {
			return err
		}
		return c.replay(g, snapshot, r, &tally)
	})
	if err != nil {
		return err
	}
	if err := g.print(tally, func() { tally.show(g) }); err != nil {
		return err
	}
	if tally.Changed > 0 {
		return refused("%s would change", plural(tally.Changed, "decision"))
	}
	return nil
}

func (c *PolicyReplayCmd) replay(g *Globals, s *policy.Snapshot, r *audit.Record, tally *replayTally) error {
	was, byPolicy := recorded(r)
	in, err := pdp.InputOf(r)
	if err == nil && !byPolicy {
		err = pdp.ErrNotByPolicy
	}
	if err != nil {
		for _, why := range whyNot {
			if errors.Is(err, why) {
				tally.NotReplayed[why.Error()]++
				return nil
			}
		}
		return err
	}
	is := said(s.Decide(context.Background(), in))
	view := replayedView{
		Time: r.Time, Decision: r.DecisionID, Server: r.Server, Method: r.Frame.Method, Name: r.Frame.Name,
		Changed: was.Effect != is.Effect || !slices.Equal(was.Rules, is.Rules), Was: was, Is: is,
	}
	if r.Subject != nil {
		view.Subject = r.Subject.ID
	}
	if view.Changed {
		tally.Changed++
	} else {
		tally.Same++
	}
	if !view.Changed && !c.All {
		return nil
	}
	return g.print(view, func() { view.show(g) })
}

const noRule = "no rule"

// recorded is what the policy said when the decision was made; false where
// something else decided.
func recorded(r *audit.Record) (saidView, bool) {
	v := saidView{Effect: r.Effect}
	if len(r.Rules) > 0 {
		// A quota or a person may have made something else of it.
		v.Effect = setName(r.Rules[0].Path)
	}
	for _, rule := range r.Rules {
		v.Rules = append(v.Rules, ruleText(audit.Rule{Path: rule.Path, ID: rule.ID}))
	}
	slices.Sort(v.Rules)
	switch r.ReasonCode {
	case "policy", "approval_required", "approval_refused":
		return v, true
	case "quota_exceeded", "quota_cost", "quota_unavailable":
		if len(r.Rules) == 0 {
			v.Effect = noRule
		}
		return v, true
	case "no_match":
		return saidView{Effect: noRule}, true
	case "unspecified", "": // an allow without more to say
		return v, r.Effect == "allow"
	}
	return v, false
}

func said(r policy.Result) saidView {
	v := saidView{Effect: r.Effect.String()}
	switch r.Cause {
	case policy.CauseNoMatch:
		return saidView{Effect: noRule}
	case policy.CauseError, policy.CauseOverload:
		v.Error = r.Err.Error()
	}
	for _, rule := range r.Rules {
		v.Rules = append(v.Rules, ruleText(audit.Rule{Path: rule.Path, ID: rule.ID}))
	}
	slices.Sort(v.Rules)
	return v
}

func (v replayedView) show(g *Globals) {
	g.line("%s  %s  %s  %s %s %s", v.Time.Local().Format(time.DateTime), v.Decision, v.Subject, v.Server, v.Method, v.Name)
	g.line("  was  %s", v.Was)
	g.line("  is   %s", v.Is)
}

// String is the effect and the rules, on a line.
func (v saidView) String() string {
	words := append([]string{v.Effect}, v.Rules...)
	if v.Error != "" {
		words = append(words, v.Error)
	}
	return strings.Join(words, "  ")
}

func (t replayTally) show(g *Globals) {
	g.line("%d stay the same, %d change", t.Same, t.Changed)
	for _, why := range whyNot {
		if n := t.NotReplayed[why.Error()]; n > 0 {
			g.line("%d can't be made again: %s", n, why)
		}
	}
}
