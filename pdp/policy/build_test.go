package policy

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// bundleOf makes a bundle of modules by file name.
func bundleOf(data map[string]any, modules map[string]string) *bundle.Bundle {
	b := &bundle.Bundle{Data: data, Manifest: bundle.Manifest{Revision: "r1"}}
	for _, file := range slices.Sorted(maps.Keys(modules)) {
		b.Modules = append(b.Modules, bundle.ModuleFile{Path: "/" + file, URL: "/" + file, Raw: []byte(modules[file])})
	}
	return b
}

func mustBuild(t interface {
	Helper()
	Fatalf(string, ...any)
}, b *bundle.Bundle, opts Options,
) *Snapshot {
	t.Helper()
	s, err := Build(context.Background(), b, opts)
	if err != nil {
		var sources strings.Builder
		for _, m := range b.Modules {
			sources.WriteString("# " + m.Path + "\n" + string(m.Raw) + "\n")
		}
		t.Fatalf("Build: %v\n%s", err, &sources)
	}
	return s
}

// buildOne builds a policy of one file about the server s.
func buildOne(t *testing.T, source string) *Snapshot {
	t.Helper()
	return mustBuild(t, bundleOf(nil, map[string]string{"policy/servers/s.rego": "package policy.servers.s\n\n" + source}), Options{})
}
