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
	reads    *argumentNames

	decision    question
	listing     question
	explanation question
}

// question is a prepared query for the value of one rule of the library.
type question struct{ body ast.Body }

var answerVar = ast.Var("answer")

func (e *evaluator) prepare() error {
	for rule, q := range map[string]*question{"decision": &e.decision, "listing": &e.listing, "explanation": &e.explanation} {
		ref := ast.DefaultRootRef.Append(ast.StringTerm(libraryRoot)).Append(ast.StringTerm(rule))
		body, err := e.compiler.QueryCompiler().Compile(ast.NewBody(ast.Equality.Expr(ast.NewTerm(answerVar), ast.NewTerm(ref))))
		if err != nil {
			return fmt.Errorf("preparing data.mcpermit.%s: %w", rule, err)
		}
		q.body = body
	}
	return nil
}

var (
	errLate      = errors.New("the evaluation ran out of time")
	errOverload  = errors.New("no evaluation slot became free in time")
	errUndefined = errors.New("the policy gave no answer")
	errSeveral   = errors.New("the policy gave several answers")
)

func isLate(err error) bool { return errors.Is(err, errLate) || errors.Is(err, errOverload) }

// ask evaluates q for input within the deadline of decisions.
func (e *evaluator) ask(ctx context.Context, q question, input *ast.Term) (ast.Value, error) {
	return e.askFor(ctx, e.deadline, q, input)
}

// askFor evaluates q for input, on a worker and for at most the deadline. A
// late evaluation is told to stop and is not waited for.
func (e *evaluator) askFor(ctx context.Context, deadline time.Duration, q question, input *ast.Term, options ...func(*topdown.Query)) (ast.Value, error) {
	timer := time.NewTimer(deadline)
	defer timer.Stop()
	type answer struct {
		value ast.Value
		err   error
	}
	answered := make(chan answer, 1) // the worker of an abandoned evaluation must not block
	cancel := topdown.NewCancel()
	work := func() {
		value, err := e.evaluate(q, input, cancel, options...)
		answered <- answer{value, err}
	}
	if !e.slots.run(work, timer.C, ctx.Done()) {
		return nil, errOverload
	}
	select {
	case a := <-answered:
		return a.value, a.err
	case <-timer.C:
		cancel.Cancel()
		return nil, errLate
	case <-ctx.Done():
		cancel.Cancel()
		return nil, fmt.Errorf("%w: %w", errLate, ctx.Err())
	}
}

// evaluate runs on the calling goroutine until it is done or cancelled. The
// caller's context is kept from it: nothing that policies may call looks at one.
func (e *evaluator) evaluate(q question, input *ast.Term, cancel topdown.Cancel, options ...func(*topdown.Query)) (value ast.Value, err error) {
	defer func() {
		if r := recover(); r != nil {
			value, err = nil, fmt.Errorf("the evaluation panicked: %v", r)
		}
	}()
	query := topdown.NewQuery(q.body).
		WithCompiler(e.compiler).
		WithStore(e.store).
		WithTransaction(e.txn).
		WithInput(input).
		WithCancel(cancel).
		WithIndexing(e.indexing).
		WithStrictBuiltinErrors(true).
		WithTime(time.Unix(0, 0)). // no built-in that is left reads it
		WithMetrics(metrics.NoOp())
	for _, option := range options {
		option(query)
	}
	err = query.Iter(context.Background(), func(result topdown.QueryResult) error {
		if value != nil {
			return errSeveral
		}
		value = result[answerVar].Value
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case value == nil:
		return nil, errUndefined
	}
	return value, nil
}
