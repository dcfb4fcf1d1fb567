// Package rego embeds the policy library: what combines the rules of the
// authors' bundles into one decision (README.md is the contract for authors),
// and the JSON Schema of the input document.
package rego

import (
	"embed"
	"io/fs"
	"strings"
)

//go:embed mcpermit/*.rego schemas/input.json
var files embed.FS

// Library returns the sources of the policy library by file name. Its tests
// are not among them.
func Library() map[string]string {
	names, err := fs.Glob(files, "mcpermit/*.rego")
	if err != nil {
		panic(err) // the pattern is a constant
	}
	library := make(map[string]string, len(names))
	for _, name := range names {
		if strings.HasSuffix(name, "_test.rego") {
			continue
		}
		library[name] = read(name)
	}
	return library
}

// InputSchema returns the JSON Schema (draft 7) of the input document.
func InputSchema() string { return read("schemas/input.json") }

func read(name string) string {
	b, err := files.ReadFile(name)
	if err != nil {
		panic(err) // the file is embedded
	}
	return string(b)
}
