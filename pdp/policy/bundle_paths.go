package policy

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// checkManifest reads .manifest strictly: OPA's reader ignores what it does
// not know, so a misspelt "roots" would be no roots.
func checkManifest(e entry) error {
	value, err := readJSON(e.data)
	if err != nil {
		return fmt.Errorf("%s: %w", e.path, err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return fmt.Errorf("%s: want one object", e.path)
	}
	known := []string{"revision", "roots", "rego_version", "file_rego_versions", "metadata", "wasm"}
	for name := range object {
		if !slices.Contains(known, name) {
			return fmt.Errorf("%s: unknown key %q: a manifest has %s", e.path, name, strings.Join(known[:5], ", "))
		}
	}
	if wasm, ok := object["wasm"].([]any); ok && len(wasm) > 0 {
		return fmt.Errorf("%s: only Rego is evaluated here: remove wasm", e.path)
	}
	return json.Unmarshal(e.data, &bundle.Manifest{})
}

// checkRoots holds the bundle to the roots of its manifest, and the manifest
// to what is not the library's.
func checkRoots(b *bundle.Bundle) error {
	b.Manifest.Init()
	roots := *b.Manifest.Roots
	for _, root := range roots {
		if root != "" && bundle.RootPathsOverlap(root, libraryRoot) {
			return fmt.Errorf(".manifest: the root %q belongs to the library: use policy and names of your own", root)
		}
	}
	return walkData(b.Data, nil, func(at []string, leaf bool) error {
		name := strings.Join(at, "/")
		if bundle.RootPathsContain(roots, name) || !leaf && slices.ContainsFunc(roots, func(root string) bool {
			return strings.HasPrefix(root, name+"/")
		}) {
			return nil
		}
		return fmt.Errorf(".manifest: its roots %q do not cover data.%s", roots, strings.Join(at, "."))
	})
}

// walkData visits the values of the document in the order of their names,
// objects before what is in them.
func walkData(node map[string]any, at []string, visit func(at []string, leaf bool) error) error {
	names := make([]string, 0, len(node))
	for name := range node {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		here := append(slices.Clone(at), name)
		object, inner := node[name].(map[string]any)
		if err := visit(here, !inner || len(object) == 0); err != nil {
			return err
		}
		if err := walkData(object, here, visit); err != nil {
			return err
		}
	}
	return nil
}

// refNames are the names of a ref behind `data`, up to the first that is not a
// string.
func refNames(ref ast.Ref) []string {
	var names []string
	for _, term := range ref[min(1, len(ref)):] {
		s, ok := term.Value.(ast.String)
		if !ok {
			break
		}
		names = append(names, string(s))
	}
	return names
}
