package console

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/mcpermit/mcpermit/pdp"
	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/policy"
	"github.com/mcpermit/mcpermit/pdp/signin"
)

const (
	sourceBytes     = 256 << 10 // of the file that is tried
	inputBytes      = 256 << 10 // of the input document
	playgroundBytes = 4 << 20   // of the form, in which a character can take nine
)

// playgroundRoutes are for admins: rules are tried in the decision point itself,
// and one step of an evaluation can take more memory than any bound on it sees.
func (c *Console) playgroundRoutes() []route {
	return []route{
		{pattern: "GET /playground", least: signin.Admin, serve: c.playgroundPage},
		{pattern: "POST /playground", least: signin.Admin, body: playgroundBytes, serve: c.tryRules},
	}
}

// playground is one input, one file of the policy as it is tried, and what is
// decided with either.
type playground struct {
	Decision string // that the input is from, if it is from one
	Input    string
	File     string
	Source   string
	Files    []string
	Note     string // what the input lacks
	Problem  string
	Fault    string // why the file does not build, as the compiler says it
	Edited   bool   // the source is not the one in force

	Before, After *verdict
}

// Changed: the policy as it is tried decides otherwise.
func (p *playground) Changed() bool {
	return p.Before != nil && p.After != nil && p.Before.Effect != p.After.Effect
}

// playgroundPage begins with a recorded decision, or with the newest one of the
// policy where none is named, and the file that has the rule which fired.
func (c *Console) playgroundPage(v *visit) error {
	q := v.r.URL.Query()
	page := &playground{Decision: strings.TrimSpace(q.Get("decision")), File: q.Get("file")}
	current := c.policy.Current()
	if current == nil {
		return noPolicy()
	}
	if err := page.tell(v, c.takeInput(v, page)); err != nil {
		return err
	}
	files := current.Files()
	if rules := current.RuleTable(); page.File == "" && len(rules) > 0 {
		page.File = rules[0].File
	}
	page.name(files)
	if i := fileNamed(files, page.File); i >= 0 {
		page.Source = files[i].Source
	} else if page.File != "" {
		return notFound("The policy in force has no such file. The policy page has its files.")
	}
	return v.show("playground", page)
}

// tell shows a problem on the page itself, which keeps what was typed; other
// errors it returns.
func (p *playground) tell(v *visit, err error) error {
	said := (*problem)(nil)
	if !errors.As(err, &said) {
		return err
	}
	v.status, p.Problem = said.status, said.text
	return nil
}

func noPolicy() error {
	return &problem{http.StatusConflict, "No policy is in force, so there is nothing to try rules against. The policy page says why."}
}

// name lists the policy's files, and chooses one where none is named.
func (p *playground) name(files []policy.File) {
	for _, f := range files {
		p.Files = append(p.Files, f.Path)
	}
	if p.File == "" && len(files) > 0 {
		p.File = files[0].Path
	}
}

// takeInput fills in what the policy saw of the decision.
func (c *Console) takeInput(v *visit, page *playground) error {
	r, err := c.decisionToTry(v.r.Context(), page.Decision)
	if r == nil || err != nil {
		return err
	}
	document, err := pdp.DocumentOf(r)
	if errors.Is(err, pdp.ErrNotByPolicy) {
		return badRequest("No policy was asked for that decision, so that other rules change nothing about it.")
	}
	if err != nil {
		return err
	}
	page.Decision, page.Input = r.DecisionID, indented(document)
	if page.File == "" && len(r.Rules) > 0 {
		page.File = r.Rules[0].File
		if p := c.policy.Current(); p == nil || fileNamed(p.Files(), page.File) < 0 {
			page.File = ""
		}
	}
	switch {
	case r.Truncated != nil:
		page.Note = "Its arguments were too long for the record: fill them in under arguments."
	case len(r.Masked) > 0:
		page.Note = "What the record masks reads “[masked]” here: fill in what you want to try."
	}
	return nil
}

// decisionToTry is the one of that id, or else the newest on which a policy was
// asked about a call; nil: there is none.
func (c *Console) decisionToTry(ctx context.Context, id string) (*audit.Record, error) {
	if id != "" {
		return c.findDecision(ctx, id)
	}
	page, err := c.trail.Newest(ctx, audit.Filter{Method: "tools/call"}, 0, decisionsLength)
	if err != nil {
		return nil, err
	}
	for _, r := range page.Records {
		if r.Input != nil {
			return r, nil
		}
	}
	return nil, nil
}

// tryRules decides the input by the policy in force and by the one that is tried.
// Nothing is stored, recorded as a decision, or forwarded.
func (c *Console) tryRules(v *visit) error {
	page := &playground{
		Decision: v.form("decision"), File: v.form("file"),
		// Browsers send lines with CR LF.
		Input: strings.ReplaceAll(v.r.PostForm.Get("input"), "\r\n", "\n"), Source: strings.ReplaceAll(v.r.PostForm.Get("source"), "\r\n", "\n"),
	}
	current := c.policy.Current()
	if current == nil {
		return noPolicy()
	}
	files := current.Files()
	page.name(files)
	i := fileNamed(files, page.File)
	if i < 0 {
		return notFound("The policy in force has no such file any more. Open the playground again; go back to copy what you wrote.")
	}
	page.Edited = strings.TrimSuffix(page.Source, "\n") != strings.TrimSuffix(files[i].Source, "\n")
	if err := page.tell(v, c.try(v, current, page)); err != nil {
		return err
	}
	return v.show("playground", page)
}

func (c *Console) try(v *visit, current *policy.Snapshot, page *playground) error {
	switch {
	case len(page.Source) > sourceBytes:
		return badRequest(fmt.Sprintf("The file is longer than %d KiB, which is all that can be tried here. Use mcpermit policy test.", sourceBytes>>10))
	case len(page.Input) > inputBytes:
		return badRequest(fmt.Sprintf("The input is longer than %d KiB, which is all that can be tried here. Use mcpermit policy explain.", inputBytes>>10))
	case strings.TrimSpace(page.Input) == "":
		return badRequest("There is no input to decide on: take one from a decision, or paste one.")
	}
	in, err := policy.InputFromJSON([]byte(page.Input))
	if err != nil {
		return badRequest(sentence(err.Error()))
	}
	t := trial{current: current, file: page.File, source: page.Source, edited: page.Edited, in: in}
	done, err := c.tries.run(v.r.Context(), v.Person.ID, t)
	if err != nil {
		return err
	}
	page.Before = c.verdict(v.r.Context(), in, done.before, current.Files())
	if done.fault == "" {
		page.After = c.verdict(v.r.Context(), in, done.after, done.files)
	} else {
		v.status, page.Fault = http.StatusUnprocessableEntity, done.fault
	}
	return nil
}

// verdict is a decision as the playground shows it.
type verdict struct {
	Effect string
	Why    string
	Reason string
	Fired  []firedVerdict
	Quotas []tryQuota
	// Approvals are what is asked for.
	Approvals []policy.Approval
	// Listed: the target would be listed.
	HasTarget, Listed bool
	Fault             string // why it could not be decided
	QuotaFault        string
}

// firedVerdict is a rule that fired, also in an effect that lost.
type firedVerdict struct {
	policy.FiredRule
	Won    bool
	Source sourcePart
}

// tryQuota is a quota that the call would count against.
type tryQuota struct {
	quotaBar
	Cost, Window string
	NoRoom       bool
}

func (c *Console) verdict(ctx context.Context, in *policy.Input, ex policy.Explanation, files []policy.File) *verdict {
	d := &verdict{
		Effect: ex.Result.Effect.String(), Why: causeWords[ex.Result.Cause], Reason: ex.Result.Reason,
		Approvals: ex.Result.Approvals, HasTarget: in.Tool != nil || in.Resource != "" || in.Prompt != "", Listed: ex.Listed,
	}
	if ex.Result.Cause == policy.CauseNoMatch && ex.Result.Effect == policy.Hide && ex.Listed {
		// As the engine does: what the subject sees listed is not called unknown.
		d.Effect, d.Reason = policy.Deny.String(), "No rule allows this call with these arguments."
	}
	if ex.Result.Err != nil {
		d.Fault = ex.Result.Err.Error()
	}
	for _, r := range ex.Fired {
		d.Fired = append(d.Fired, firedVerdict{r, r.Set == ex.Result.WinningSet(), ruleSource(files, r.File, r.Line)})
	}
	uses, err := c.engine.Remaining(ctx, in, ex.Result.Quotas)
	if err != nil {
		d.QuotaFault = sentence(err.Error())
	}
	for _, u := range uses {
		var reset time.Time
		if at := u.GetResetAt(); at != nil {
			reset = at.AsTime()
		}
		d.Quotas = append(d.Quotas, tryQuota{
			quotaBar: newQuotaBar(u.GetName(), u.GetUsed(), u.GetLimit(), reset), Cost: u.GetCost(), Window: u.GetWindow(), NoRoom: u.GetExceeded(),
		})
	}
	return d
}

// causeWords say why a policy decided so.
var causeWords = map[policy.Cause]string{
	policy.CauseRule:     "a rule of the policy",
	policy.CauseNoMatch:  "no rule spoke, so the default holds",
	policy.CauseError:    "the policy could not decide",
	policy.CauseOverload: "there was not enough time to decide",
	policy.CauseScope:    "the access token lacks a scope",
}
