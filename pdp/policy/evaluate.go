package policy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/metrics"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// evaluator asks the compiled policy. It is immutable once prepared.
type evaluator struct {
	compiler *ast.Compiler
	store    storage.Store
	txn      storage.Transaction // shared: reads of the store take no lock
	slots    *Slots
	deadline time.Duration
	indexing bool
	reads    *inputReads
	prompt   bool // every step of an evaluation is short (prompt.go)

	plans       *plans
	unmatched   *question
	explanation *question
}

// question is a prepared query that binds each of its answers.
type question struct {
	body    ast.Body
	answers []ast.Var
}

func (e *evaluator) prepare(attachments []string) (err error) {
	e.prompt = onlyPrompt(e.compiler)
	if e.plans, err = newPlans(e.compiler, attachments); err != nil {
		return err
	}
	if e.unmatched, err = newLibraryQuestion(e.compiler, "unmatched"); err != nil {
		return err
	}
	e.explanation, err = newLibraryQuestion(e.compiler, "explanation")
	return err
}

// newLibraryQuestion prepares the question for the value of one rule of the
// library.
func newLibraryQuestion(c *ast.Compiler, rule string) (*question, error) {
	const answer = ast.Var("answer")
	ref := ast.DefaultRootRef.Append(ast.StringTerm(libraryRoot)).Append(ast.StringTerm(rule))
	body, err := c.QueryCompiler().Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(answer), ast.NewTerm(ref))))
	if err != nil {
		return nil, fmt.Errorf("preparing data.mcpermit.%s: %w", rule, err)
	}
	return &question{body, []ast.Var{answer}}, nil
}

var (
	errLate      = errors.New("the evaluation ran out of time")
	errOverload  = errors.New("no evaluation slot became free in time")
	errUndefined = errors.New("the policy gave no answer")
	errSeveral   = errors.New("the policy gave several answers")
)

func isLate(err error) bool { return errors.Is(err, errLate) || errors.Is(err, errOverload) }

// evaluation is one walk through the policy for one input at a time. What one
// question has found out of the authors' helpers serves the next.
type evaluation struct {
	*evaluator
	cancel  topdown.Cancel
	input   *ast.Term
	known   topdown.VirtualCache
	ahead   topdown.QueryResult
	options []func(*topdown.Query)
}

// on turns to another input.
func (ev *evaluation) on(input *ast.Term) {
	ev.input, ev.known, ev.ahead = input, topdown.NewVirtualCache(), nil
}

// askAhead asks several questions at once, which costs hardly more than one, for
// the answers to be there when each is asked. Where that fails they are left to
// be asked one by one: a failure counts only in a set that is needed.
func (ev *evaluation) askAhead(q *question) (err error) {
	if q == nil {
		return nil
	}
	if ev.ahead, err = ev.ask(q); topdown.IsCancel(err) {
		return err
	}
	if err != nil {
		ev.on(ev.input) // what was found out may lack what failed
	}
	return nil
}

// run calls do with an evaluation, in a slot and for at most the deadline; a
// panic of it is an error. Where every step of an evaluation is short, and so
// ends soon after it is told to, do runs on the calling goroutine; otherwise on
// a worker, and one that is late is not waited for: do must not write to what
// the caller has.
func run[T any](ctx context.Context, e *evaluator, deadline time.Duration, do func(*evaluation) (T, error)) (T, error) {
	cancel := topdown.NewCancel()
	work := func() (value T, err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("the evaluation panicked: %v", r)
			}
		}()
		return do(&evaluation{evaluator: e, cancel: cancel})
	}
	if e.prompt {
		return runHere(ctx, e.slots, deadline, cancel, work)
	}
	return runAside(ctx, e.slots, deadline, cancel, work)
}

// runHere goes by ctx's deadline beside its own. That ctx is cancelled earlier
// saves less than to watch it costs.
func runHere[T any](ctx context.Context, slots *Slots, deadline time.Duration, cancel topdown.Cancel, work func() (T, error)) (value T, err error) {
	if end, has := ctx.Deadline(); has {
		deadline = min(deadline, time.Until(end))
	}
	late := time.AfterFunc(deadline, cancel.Cancel)
	defer late.Stop()
	if !slots.enter() {
		timer := time.NewTimer(deadline)
		defer timer.Stop()
		if !slots.wait(timer.C, ctx.Done()) {
			return value, errOverload
		}
	}
	defer slots.leave()
	value, err = work()
	if cancel.Cancelled() {
		var none T
		return none, errLate
	}
	return value, err
}

func runAside[T any](ctx context.Context, slots *Slots, deadline time.Duration, cancel topdown.Cancel, work func() (T, error)) (none T, err error) {
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1) // the worker of an abandoned evaluation must not block
	if !slots.run(func() {
		value, err := work()
		answered <- answer{value, err}
	}, timer.C, ctx.Done()) {
		return none, errOverload
	}
	select {
	case a := <-answered:
		return a.value, a.err
	case <-timer.C:
		cancel.Cancel()
		return none, errLate
	case <-ctx.Done():
		cancel.Cancel()
		return none, fmt.Errorf("%w: %w", errLate, ctx.Err())
	}
}

// members are those that a set has, in all of its packages.
func (ev *evaluation) members(q *question) (ast.Set, error) {
	if q == nil {
		return noMembers, nil
	}
	result := ev.ahead
	if result == nil {
		var err error
		if result, err = ev.ask(q); err != nil {
			return nil, err
		}
	}
	all := noMembers
	for _, answer := range q.answers {
		members, ok := setOf(result[answer])
		if !ok {
			return nil, errShape
		}
		all = union(all, members)
	}
	return all, nil
}

var noMembers = ast.NewSet()

// value is the one answer to a question.
func (ev *evaluation) value(q *question) (ast.Value, error) {
	result, err := ev.ask(q)
	if err != nil {
		return nil, err
	}
	return result[q.answers[0]].Value, nil
}

// ask returns the one result of a question, with all of its answers. The caller's
// context is kept from the evaluation: nothing that policies may call looks at
// one.
func (ev *evaluation) ask(q *question) (topdown.QueryResult, error) {
	query := topdown.NewQuery(q.body).
		WithCompiler(ev.compiler).
		WithStore(ev.store).
		WithTransaction(ev.txn).
		WithInput(ev.input).
		WithVirtualCache(ev.known).
		WithCancel(ev.cancel).
		WithIndexing(ev.indexing).
		WithStrictBuiltinErrors(true).
		WithTime(time.Unix(0, 0)). // no built-in that is left reads it
		WithMetrics(metrics.NoOp())
	for _, option := range ev.options {
		option(query)
	}
	var only topdown.QueryResult
	err := query.Iter(context.Background(), func(result topdown.QueryResult) error {
		if only != nil {
			return errSeveral
		}
		only = result
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case only == nil:
		return nil, errUndefined
	}
	return only, nil
}
