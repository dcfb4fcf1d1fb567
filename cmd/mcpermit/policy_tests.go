package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/mcpermit/mcpermit/pdp/policy"
	library "github.com/mcpermit/mcpermit/rego"
)

// PolicyTestCmd is `mcpermit policy test`.
type PolicyTestCmd struct {
	Dir       string        `arg:"" help:"Directory of the policy and its tests (*_test.rego)." placeholder:"DIR"`
	Only      string        `name:"run" help:"Run only the tests whose name matches." placeholder:"REGEXP"`
	Verbose   bool          `short:"v" help:"Name every test."`
	Coverage  bool          `help:"Say which lines of the policy no test reaches."`
	Threshold float64       `help:"Fail when less than this share of the lines is reached; implies --coverage." placeholder:"PERCENT"`
	Timeout   time.Duration `default:"5s" help:"For one test." placeholder:"DURATION"`
}

// Run runs the tests; it exits with 1 when one fails, when there is none, and
// when too little is covered.
func (c *PolicyTestCmd) Run(g *Globals) error {
	if c.Threshold < 0 || c.Threshold > 100 {
		return misuse("--threshold is a percentage")
	}
	ctx := context.Background()
	// What would not be in force is not tested either.
	if _, err := buildPolicy(ctx, c.Dir); err != nil {
		return err
	}
	b, err := readPolicy(ctx, c.Dir, policy.SourceOptions{Tests: true})
	if err != nil {
		return err
	}
	covered := cover.New()
	results, modules, err := c.run(ctx, b, covered)
	if err != nil {
		return refused("%s: the tests do not compile: %w", c.Dir, err)
	}
	failures, err := c.report(g, results)
	if err != nil {
		return err
	}
	if c.Coverage || c.Threshold > 0 {
		if err := c.reportCoverage(g, covered.Report(modules)); err != nil {
			return err
		}
	}
	switch {
	case len(results) == 0:
		return refused("no tests in %s: write rules named test_… in files named …_test.rego", c.Dir)
	case failures > 0:
		return refused("%d of %s failed", failures, plural(len(results), "test"))
	}
	return nil
}

// run evaluates the tests beside the policy and its library, with the
// capabilities of production. It returns the modules that count for coverage.
func (c *PolicyTestCmd) run(ctx context.Context, b *bundle.Bundle, covered *cover.Cover) ([]*tester.Result, map[string]*ast.Module, error) {
	all, policies := map[string]*ast.Module{}, map[string]*ast.Module{}
	for _, m := range b.Modules {
		all[m.Path] = m.Parsed
		if !strings.HasSuffix(m.Path, "_test.rego") {
			policies[m.Path] = m.Parsed
		}
	}
	for name, source := range library.Library() {
		m, err := ast.ParseModuleWithOpts(name, source, ast.ParserOptions{RegoVersion: ast.RegoV1})
		if err != nil {
			return nil, nil, err
		}
		all[name] = m
	}
	store := inmem.NewFromObject(b.Data)
	runner := tester.NewRunner().
		SetCompiler(ast.NewCompiler().
			WithCapabilities(policy.Capabilities()).
			WithDefaultRegoVersion(ast.RegoV1).
			WithEnablePrintStatements(true)).
		SetStore(store).
		SetModules(all).
		CapturePrintOutput(true).
		RaiseBuiltinErrors(true). // in force, they deny
		SetTimeout(c.Timeout).
		Filter(c.Only)
	if c.Coverage || c.Threshold > 0 {
		runner = runner.SetCoverageQueryTracer(covered).SetCoverageRuns(nil)
	} else {
		runner = runner.EnableTracing(true) // OPA offers one or the other
	}
	var results []*tester.Result
	err := storage.Txn(ctx, store, storage.TransactionParams{}, func(txn storage.Transaction) error {
		ran, err := runner.RunTests(ctx, txn)
		if err != nil {
			return err
		}
		for r := range ran {
			results = append(results, r)
		}
		return nil
	})
	slices.SortFunc(results, func(x, y *tester.Result) int {
		return cmp.Or(cmp.Compare(x.Location.File, y.Location.File), cmp.Compare(x.Location.Row, y.Location.Row), cmp.Compare(x.Name, y.Name))
	})
	return results, policies, err
}

type testView struct {
	Test    string  `json:"test"`
	File    string  `json:"file"`
	Line    int     `json:"line"`
	Result  string  `json:"result"` // pass, fail, error or skip
	Seconds float64 `json:"seconds"`
	Why     string  `json:"why,omitempty"`
	Output  string  `json:"output,omitempty"`
}

// report prints what came of the tests, and returns how many failed.
func (c *PolicyTestCmd) report(g *Globals, results []*tester.Result) (failures int, err error) {
	count := map[string]int{}
	var took time.Duration
	for _, r := range results {
		view := viewTest(r)
		count[view.Result]++
		took += r.Duration
		if err := g.print(view, func() { c.show(g, view) }); err != nil {
			return 0, err
		}
	}
	if g.Output != "json" {
		parts := []string{plural(count["pass"], "test") + " passed"}
		for _, kind := range [][2]string{{"fail", "failed"}, {"error", "broke off"}, {"skip", "skipped"}} {
			if n := count[kind[0]]; n > 0 {
				parts = append(parts, fmt.Sprintf("%d %s", n, kind[1]))
			}
		}
		g.line("%s (%v)", strings.Join(parts, ", "), took.Round(time.Millisecond))
	}
	return count["fail"] + count["error"], nil
}

func (c *PolicyTestCmd) show(g *Globals, v testView) {
	if v.Result == "pass" && !c.Verbose {
		return
	}
	g.line("%-5s  %s:%d  %s (%v)", strings.ToUpper(v.Result), v.File, v.Line, v.Test, time.Duration(v.Seconds*float64(time.Second)).Round(10*time.Microsecond))
	for _, text := range []string{v.Why, v.Output} {
		for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
			if line != "" {
				g.line("       %s", strings.ReplaceAll(line, "\t", "    "))
			}
		}
	}
}

func viewTest(r *tester.Result) testView {
	v := testView{
		Test: strings.TrimPrefix(r.Package, "data.") + "." + r.Name, File: r.Location.File, Line: r.Location.Row,
		Result: "pass", Seconds: r.Duration.Seconds(), Output: string(r.Output),
	}
	switch {
	case r.Skip:
		v.Result = "skip"
	case r.Error != nil:
		v.Result, v.Why = "error", r.Error.Error()
	case r.Fail:
		v.Result, v.Why = "fail", failedAt(r.Trace)
	}
	return v
}

// failedAt shows the last expression that was not true, with the values of the
// variables in it.
func failedAt(trace []*topdown.Event) string {
	for _, e := range slices.Backward(trace) {
		expr, ok := e.Node.(*ast.Expr)
		if !ok || e.Op != topdown.FailOp || e.Location == nil || e.QueryID == 0 {
			continue
		}
		if _, every := expr.Terms.(*ast.Every); every {
			continue // the expression inside it says more
		}
		var text strings.Builder
		if topdown.PrettyEvent(&text, e, topdown.PrettyEventOpts{PrettyVars: true}) != nil {
			break
		}
		return fmt.Sprintf("%s:%d:\n%s", e.Location.File, e.Location.Row, text.String())
	}
	return "run it without --coverage to see where"
}

type coverageView struct {
	Coverage   float64          `json:"coverage"` // percent
	NotCovered map[string][]int `json:"not_covered"`
}

func (c *PolicyTestCmd) reportCoverage(g *Globals, report cover.Report) error {
	reached, missed := 0, 0
	view := coverageView{NotCovered: map[string][]int{}}
	for file, f := range report.Files {
		if f == nil || strings.HasSuffix(file, "_test.rego") || library.Library()[file] != "" {
			continue
		}
		reached += f.CoveredLines
		missed += f.NotCoveredLines
		for _, r := range f.NotCovered {
			for line := r.Start.Row; line <= r.End.Row; line++ {
				if !slices.Contains(view.NotCovered[file], line) {
					view.NotCovered[file] = append(view.NotCovered[file], line)
				}
			}
		}
		slices.Sort(view.NotCovered[file])
	}
	view.Coverage = 100
	if reached+missed > 0 {
		view.Coverage = math.Floor(1000*float64(reached)/float64(reached+missed)) / 10
	}
	err := g.print(view, func() {
		g.line("%.1f %% of the lines covered", view.Coverage)
		for _, file := range slices.Sorted(maps.Keys(view.NotCovered)) {
			for _, line := range view.NotCovered[file] {
				g.line("       %s:%d is not", file, line)
			}
		}
	})
	if err == nil && view.Coverage < c.Threshold {
		return refused("%.1f %% of the lines are covered, and %g %% are asked for", view.Coverage, c.Threshold)
	}
	return err
}
