package policy

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// DefaultDeadline is how long a decision waits for its evaluation.
const DefaultDeadline = 50 * time.Millisecond

// Options say how a snapshot decides. The zero value is good.
type Options struct {
	// Deadline is the longest that one decision waits for its evaluation,
	// queueing included; 0 means DefaultDeadline.
	Deadline time.Duration
	// Slots bound the evaluations that are under way. Snapshots that replace one
	// another should share them; nil means slots of the snapshot's own.
	Slots *Slots
}

// Build turns a bundle that was read and verified into a snapshot: its modules
// are checked, labelled, weakened, compiled together with the policy library,
// and prepared. Test files (*_test.rego) are left out. The error says with file
// and line what keeps the bundle from being put in force. b must not be changed
// afterwards.
func Build(ctx context.Context, b *bundle.Bundle, opts Options) (*Snapshot, error) {
	if b == nil {
		return nil, errors.New("no bundle to build a policy from")
	}
	store, txn, err := openData(ctx, b)
	if err != nil {
		return nil, err
	}
	s, err := buildOver(ctx, b, store, txn, opts)
	if err != nil {
		return nil, err
	}
	s.revision = Revision{Revision: b.Manifest.Revision, Digest: Digest(b)}
	return s, nil
}

// buildOver makes a snapshot of the bundle's modules over data that is there.
func buildOver(ctx context.Context, b *bundle.Bundle, store storage.Store, txn storage.Transaction, opts Options) (*Snapshot, error) {
	modules, err := parseModules(b)
	if err != nil {
		return nil, err
	}
	labels, err := newLabels(modules)
	if err != nil {
		return nil, err
	}
	compiler, reads, err := compile(ctx, modules, labels, store, txn)
	if err != nil {
		return nil, err
	}
	s := &Snapshot{
		table: labels.table,
		files: filesOf(b),
		evaluator: evaluator{
			compiler: compiler, store: store, txn: txn,
			slots: opts.Slots, deadline: opts.Deadline, indexing: true, reads: reads,
		},
	}
	if s.deadline == 0 {
		s.deadline = DefaultDeadline
	}
	if s.slots == nil {
		s.slots = NewSlots(0)
	}
	return s, s.prepare(labels.attachments())
}

// openData puts the bundle's data into a store that nobody ever writes to, and
// opens the one read transaction that all evaluations share.
func openData(ctx context.Context, b *bundle.Bundle) (storage.Store, storage.Transaction, error) {
	for _, root := range []string{policyRoot, libraryRoot, "system"} {
		if _, reserved := b.Data[root]; reserved {
			return nil, nil, fmt.Errorf("the bundle has data under %q, which is kept for rules: move it elsewhere", root)
		}
	}
	value, err := ast.InterfaceToValue(b.Data)
	if err != nil {
		return nil, nil, fmt.Errorf("the bundle's data is not JSON: %w", err)
	}
	object, ok := value.(ast.Object)
	if !ok {
		object = ast.NewObject() // no data at all
	}
	store := inmem.NewFromASTObject(object)
	txn, err := store.NewTransaction(ctx)
	return store, txn, err
}

func compile(ctx context.Context, modules map[string]*ast.Module, l *labels, store storage.Store, txn storage.Transaction) (*ast.Compiler, *inputReads, error) {
	all := maps.Clone(libraryModules())
	for file, module := range modules {
		if _, taken := all[file]; taken {
			return nil, nil, fmt.Errorf("%s: the policy library has a file of this name, rename it", file)
		}
		all[file] = module
	}
	var reads *inputReads
	var fault error // of our own stages; the compiler's errors cannot hold it
	compiler := ast.NewCompiler().
		WithCapabilities(capabilities()).
		WithDefaultRegoVersion(ast.RegoV1).
		WithPathConflictsCheck(storage.NonEmpty(ctx, store, txn)).
		WithStageAfterID(ast.StageResolveRefs, stage("Label", func(c *ast.Compiler) {
			l.apply(c)
		})).
		WithStageAfterID(ast.StageRewriteDynamicTerms, stage("Weaken", func(c *ast.Compiler) {
			reads = newInputReads(c.Modules)
			reaches := newReaches(c)
			if fault = l.checkReach(reaches); fault == nil {
				l.weaken(c, reaches)
			}
		}))
	compiler.Compile(all)
	if fault != nil {
		return nil, nil, fault
	}
	if compiler.Failed() {
		return nil, nil, compiler.Errors
	}
	return compiler, reads, ctx.Err()
}

func stage(name string, do func(*ast.Compiler)) ast.CompilerStageDefinition {
	return ast.CompilerStageDefinition{Name: name, MetricName: "compile_stage_mcpermit", Stage: func(c *ast.Compiler) *ast.Error {
		if len(c.Errors) == 0 {
			do(c)
		}
		return nil
	}}
}
