package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// File is one Rego file of a policy, as its author wrote it.
type File struct{ Path, Source string }

func filesOf(b *bundle.Bundle) []File {
	files := make([]File, 0, len(b.Modules))
	for _, m := range b.Modules {
		path := strings.TrimPrefix(m.Path, "/")
		if !strings.HasSuffix(path, "_test.rego") {
			files = append(files, File{path, string(m.Raw)})
		}
	}
	slices.SortFunc(files, func(x, y File) int { return strings.Compare(x.Path, y.Path) })
	return files
}

// Files returns the policy's Rego files by their path, tests left out. The caller
// owns the slice.
func (s *Snapshot) Files() []File { return slices.Clone(s.files) }

// ErrNoFile says that the policy has no file of that path.
var ErrNoFile = errors.New("the policy has no such file")

// Edited builds the policy with one of its files changed, over the same data, for
// looking at what would be decided. It is not in force, and has no digest. opts
// should have slots of its own, so that what is tried takes none from decisions.
// Its evaluations end with the context that they are given.
//
// Building goes on when ctx has ended, as the compiler cannot be told to stop.
func (s *Snapshot) Edited(ctx context.Context, path, source string, opts Options) (*Snapshot, error) {
	b := &bundle.Bundle{}
	for _, f := range s.files {
		b.Modules = append(b.Modules, bundle.ModuleFile{Path: f.Path, URL: f.Path, Raw: []byte(f.Source)})
	}
	i := slices.IndexFunc(s.files, func(f File) bool { return f.Path == path })
	if i < 0 {
		return nil, fmt.Errorf("%w: %q", ErrNoFile, path)
	}
	parsed, err := parseModule(path, source)
	if err != nil {
		return nil, err
	}
	b.Modules[i].Raw, b.Modules[i].Parsed = []byte(source), parsed
	if err := checkDefaults(&bundle.Bundle{Modules: b.Modules[i : i+1]}); err != nil {
		return nil, err
	}
	edited, err := buildOver(ctx, b, s.store, s.txn, opts)
	if err != nil {
		return nil, err
	}
	edited.prompt = false
	return edited, nil
}

// Aside is the same policy with slots of its own, so that people who look at it
// take none from decisions. Its evaluations end with the context that they are
// given.
func (s *Snapshot) Aside(slots *Slots) *Snapshot {
	aside := *s
	aside.slots, aside.prompt = slots, false
	return &aside
}
