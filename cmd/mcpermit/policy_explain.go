package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/policy"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// PolicyStatusCmd is `mcpermit policy status`.
type PolicyStatusCmd struct{}

type policyStatusView struct {
	Ready       bool             `json:"ready"`
	Revision    string           `json:"revision"`
	Digest      string           `json:"digest"`
	Source      string           `json:"source"`
	ActivatedAt string           `json:"activated_at,omitempty"`
	LastError   string           `json:"last_error,omitempty"`
	LastErrorAt string           `json:"last_error_at,omitempty"`
	Rules       map[string]int32 `json:"rules"`
	Findings    []findingView    `json:"findings"`
}

// Run asks the PDP; it exits with 1 when no policy is in force.
func (*PolicyStatusCmd) Run(g *Globals) error {
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewPolicyServiceClient(conn).GetPolicyStatus(ctx, &v1.GetPolicyStatusRequest{})
		if err != nil {
			return err
		}
		view := viewPolicyStatus(res)
		if err := g.print(view, func() { view.show(g) }); err != nil {
			return err
		}
		if !view.Ready {
			return refused("no policy is in force, so everything is denied")
		}
		return nil
	})
}

func viewPolicyStatus(res *v1.GetPolicyStatusResponse) policyStatusView {
	view := policyStatusView{
		Ready: res.GetReady(), Revision: res.GetPolicy().GetRevision(), Digest: res.GetPolicy().GetDigest(),
		Source: res.GetSource(), ActivatedAt: rfc3339(res.GetActivatedAt()),
		LastError: res.GetLastError(), LastErrorAt: rfc3339(res.GetLastErrorAt()),
		Rules: res.GetRules(), Findings: []findingView{},
	}
	for _, f := range res.GetFindings() {
		view.Findings = append(view.Findings, findingView{
			Check: f.GetCheck(), File: f.GetFile(), Line: int(f.GetLine()), Path: f.GetPath(), Message: f.GetMessage(),
		})
	}
	return view
}

func rfc3339(t *timestamppb.Timestamp) string {
	if t == nil {
		return ""
	}
	return t.AsTime().Format(time.RFC3339)
}

func (v policyStatusView) show(g *Globals) {
	g.line("Source      %s", v.Source)
	if v.Ready {
		g.line("Revision    %s", orNone(v.Revision))
		g.line("Digest      %s", v.Digest)
		g.line("Activated   %s", v.ActivatedAt)
	}
	for i, path := range slices.Sorted(maps.Keys(v.Rules)) {
		g.line("%-11s %s %d", label("Rules", i), path, v.Rules[path])
	}
	if v.LastError != "" {
		g.line("Last error  %s: %s", v.LastErrorAt, v.LastError)
	}
	for i, f := range v.Findings {
		g.line("%-11s %s:%d: %s (%s)", label("Findings", i), f.File, f.Line, f.Message, f.Check)
	}
}

// label stands before the first line of several.
func label(name string, i int) string {
	if i == 0 {
		return name
	}
	return ""
}

// PolicyExplainCmd is `mcpermit policy explain`.
type PolicyExplainCmd struct {
	Path     string `arg:"" optional:"" help:"Policy to ask: directory or bundle.tar.gz. Default: the one in force in the running PDP." placeholder:"PATH"`
	File     string `short:"f" help:"Input document as JSON (rego/schemas/input.json); - for standard input." placeholder:"FILE"`
	Decision string `help:"Explain this recorded decision of the running PDP instead." placeholder:"ID"`
	Trace    bool   `help:"Show every step of the evaluation."`
}

type explanationView struct {
	Effect  string      `json:"effect"`
	Reason  string      `json:"reason"`
	Code    string      `json:"reason_code"`
	Winning []firedView `json:"winning"`
	Fired   []firedView `json:"fired"`
	Quotas  []quotaView `json:"quotas,omitempty"`
	// Scopes are all that the call needs, where the access token lacks one.
	Scopes     []string `json:"scopes,omitempty"`
	Credential string   `json:"credential,omitempty"`

	Revision string `json:"revision"`
	Digest   string `json:"digest"`
	Trace    string `json:"trace,omitempty"`
}

// quotaView is a quota that the call counts against, as it stands.
type quotaView struct {
	Name      string `json:"name"`
	Limit     string `json:"limit"`
	Used      string `json:"used"`
	Remaining string `json:"remaining"`
	Cost      string `json:"cost"`
	Window    string `json:"window"`
	ResetAt   string `json:"reset_at,omitempty"`
	Exceeded  bool   `json:"exceeded"`
}

type firedView struct {
	Effect string `json:"effect"`
	Path   string `json:"path"`
	ID     string `json:"id,omitempty"`
	Title  string `json:"title,omitempty"`
	File   string `json:"file"`
	Line   int32  `json:"line"`
	Reason string `json:"reason"`
}

// Run explains, against a policy on this machine or the one in force.
func (c *PolicyExplainCmd) Run(g *Globals) error {
	if (c.File == "") == (c.Decision == "") {
		return misuse("name an input with -f FILE, or a decision with --decision ID")
	}
	if c.Path != "" && c.Decision != "" {
		return misuse("--decision asks the running PDP: leave %s out", c.Path)
	}
	req := &v1.ExplainDecisionRequest{DecisionId: c.Decision}
	if c.File != "" {
		document, err := readInput(c.File)
		if err != nil {
			return misuse("%w", err)
		}
		req.Input = document
	}
	if c.Path != "" {
		return c.local(g, req.GetInput())
	}
	return g.call(func(ctx context.Context, conn *connection) error {
		res, err := v1.NewPolicyServiceClient(conn).ExplainDecision(ctx, req)
		if err != nil {
			return err
		}
		return c.show(g, viewExplanation(res))
	})
}

func readInput(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(os.Stdin)
	}
	return os.ReadFile(name)
}

func (c *PolicyExplainCmd) local(g *Globals, document []byte) error {
	ctx := context.Background()
	in, err := policy.InputFromJSON(document)
	if err != nil {
		return misuse("%s: %w", c.File, err)
	}
	s, err := buildPolicy(ctx, c.Path)
	if err != nil {
		return err
	}
	ex := s.Explain(ctx, in)
	view := explanationView{
		Effect: ex.Result.Effect.String(), Reason: ex.Result.Reason, Code: causeCodes[ex.Result.Cause], Winning: []firedView{}, Fired: []firedView{},
		Scopes: ex.Result.Scopes, Credential: ex.Result.Credential,
		Revision: s.Revision().Revision, Digest: s.Revision().Digest, Trace: ex.Trace,
	}
	if ex.Result.Err != nil {
		view.Reason = ex.Result.Err.Error()
	}
	for _, r := range ex.Result.Rules {
		view.Winning = append(view.Winning, viewRule(r, ex.Result.WinningSet()))
	}
	for _, r := range ex.Fired {
		view.Fired = append(view.Fired, viewRule(r.Rule, r.Set))
	}
	return c.show(g, view)
}

// causeCodes are the names that the service has for causes.
var causeCodes = map[policy.Cause]string{
	policy.CauseError: "policy_error", policy.CauseRule: "policy", policy.CauseNoMatch: "no_match", policy.CauseOverload: "overloaded",
	policy.CauseScope: "insufficient_scope",
}

func viewRule(r policy.Rule, effect string) firedView {
	return firedView{Effect: effect, Path: r.Path, ID: r.ID, Title: r.Title, File: r.File, Line: int32(r.Line), Reason: r.Reason}
}

func viewExplanation(res *v1.ExplainDecisionResponse) explanationView {
	v := explanationView{
		Effect: enumText(res.GetEffect().String(), "EFFECT_"), Code: enumText(res.GetReasonCode().String(), "REASON_CODE_"),
		Reason: res.GetReason(), Winning: viewMatched(res.GetWinning()), Fired: viewMatched(res.GetFired()),
		Scopes: res.GetScopes(), Credential: res.GetCredential(),
		Revision: res.GetPolicy().GetRevision(), Digest: res.GetPolicy().GetDigest(), Trace: res.GetTrace(),
	}
	for _, q := range res.GetQuotas() {
		v.Quotas = append(v.Quotas, quotaView{
			Name: q.GetName(), Limit: q.GetLimit(), Used: q.GetUsed(), Remaining: q.GetRemaining(), Cost: q.GetCost(), Window: q.GetWindow(),
			ResetAt: rfc3339(q.GetResetAt()), Exceeded: q.GetExceeded(),
		})
	}
	return v
}

func enumText(name, prefix string) string { return strings.ToLower(strings.TrimPrefix(name, prefix)) }

func viewMatched(rules []*v1.MatchedRule) []firedView {
	views := make([]firedView, 0, len(rules))
	for _, r := range rules {
		views = append(views, firedView{
			Effect: setName(r.GetPath()), Path: r.GetPath(), ID: r.GetId(), Title: r.GetTitle(),
			File: r.GetFile(), Line: r.GetLine(), Reason: r.GetReason(),
		})
	}
	return views
}

func (c *PolicyExplainCmd) show(g *Globals, v explanationView) error {
	if !c.Trace {
		v.Trace = ""
	}
	return g.print(v, func() {
		g.line("%s  %s", strings.ToUpper(v.Effect), v.Reason)
		v.showRules(g)
		for i, q := range v.Quotas {
			if i == 0 {
				g.line("\nCounts against, as it stands now:")
			}
			g.line("  %s: %s of %s used (%s), this call costs %s%s", q.Name, q.Used, q.Limit, q.Window, q.Cost, noRoom(q))
		}
		g.line("\nPolicy %s %s", orNone(v.Revision), v.Digest)
		if c.Trace {
			fmt.Fprintln(g.Stdout)
			g.line("%s", v.Trace)
		}
	})
}

func noRoom(q quotaView) string {
	switch {
	case !q.Exceeded:
		return ""
	case q.ResetAt == "":
		return ": above the limit"
	}
	return ": no room before " + q.ResetAt
}

// showRules lists the rules that won, then those that fired in vain.
func (v explanationView) showRules(g *Globals) {
	switch {
	case len(v.Winning) > 0:
	case v.Code == causeCodes[policy.CauseNoMatch]:
		g.line("No rule speaks of it: the default of the method applies.")
	case v.Code == causeCodes[policy.CauseRule]: // an attachment is not in force, as the reason says
	default:
		g.line("The evaluation failed (%s), which denies.", v.Code)
	}
	for _, r := range v.Winning {
		g.line("  %s", r.text())
	}
	heading := ""
	for _, r := range v.Fired {
		if slices.Contains(v.Winning, r) {
			continue
		}
		if say := firedHeadings[r.Effect]; say != heading {
			heading = say
			g.line("\n%s", heading)
		}
		g.line("  %-7s  %s", r.Effect, r.text())
	}
}

// firedHeadings stand above the rules that fired in a set, and did not win.
var firedHeadings = map[string]string{
	"hide": lostHeading, "deny": lostHeading, "approve": lostHeading, "allow": lostHeading,
	"scope": "Needs scopes of the access token:", "credential": "Carries the credential, if it passes:",
}

const lostHeading = "Also fired, and did not win:"

func (r firedView) text() string {
	text := ruleText(audit.Rule{Path: r.Path, ID: r.ID, File: r.File, Line: int(r.Line)})
	if r.Reason != "" {
		text += ": " + r.Reason
	}
	return text
}
