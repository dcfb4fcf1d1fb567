package rego_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/cover"
	"github.com/open-policy-agent/opa/v1/format"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/tester"

	"github.com/mcpermit/mcpermit/rego"
)

// minCoverage is the part of the lines, in per cent, that the Rego tests run.
const minCoverage = 90

// load reads the modules below the given directories as opa does.
func load(t *testing.T, dirs ...string) map[string]*ast.Module {
	t.Helper()
	modules := map[string]*ast.Module{}
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(file string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || filepath.Ext(file) != ".rego" {
				return err
			}
			source, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			modules[file], err = ast.ParseModuleWithOpts(file, string(source), ast.ParserOptions{ProcessAnnotation: true, RegoVersion: ast.RegoV1})
			if err != nil {
				return err
			}
			formatted, err := format.SourceWithOpts(file, source, format.Opts{RegoVersion: ast.RegoV1})
			if err == nil && !bytes.Equal(source, formatted) {
				t.Errorf("%s is not formatted: run go tool opa fmt -w %[1]s", file)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(modules) == 0 {
		t.Fatalf("no modules below %v", dirs)
	}
	return modules
}

// TestRego checks, runs and measures the Rego of the library and of the bundles
// that are shipped.
func TestRego(t *testing.T) {
	for name, dirs := range map[string][]string{
		"library":  {"mcpermit"},
		"starter":  {"mcpermit", "../bundles/starter"},
		"identity": {"mcpermit", "../bundles/identity"},
	} {
		t.Run(name, func(t *testing.T) {
			modules := load(t, dirs...)
			check(t, modules)
			coverage := cover.New()
			store := inmem.New()
			txn := storage.NewTransactionOrDie(t.Context(), store)
			defer store.Abort(t.Context(), txn)
			results, err := tester.NewRunner().SetStore(store).SetModules(modules).
				SetCoverageQueryTracer(coverage).RunTests(t.Context(), txn)
			if err != nil {
				t.Fatal(err)
			}
			ran := 0
			for result := range results {
				ran++
				if result.Fail || result.Error != nil || result.Skip {
					t.Errorf("%s.%s: %v", result.Package, result.Name, result)
				}
			}
			if report := coverage.Report(modules); ran == 0 || report.Coverage < minCoverage {
				t.Errorf("%d tests ran %.1f %% of the lines, want %d", ran, report.Coverage, minCoverage)
			}
		})
	}
}

// check compiles strictly, with what the schema says of input.
func check(t *testing.T, modules map[string]*ast.Module) {
	t.Helper()
	var schema any
	if err := json.Unmarshal([]byte(rego.InputSchema()), &schema); err != nil {
		t.Fatal(err)
	}
	schemas := ast.NewSchemaSet()
	schemas.Put(ast.SchemaRootRef, schema)
	compiler := ast.NewCompiler().WithStrict(true).WithSchemas(schemas).WithUseTypeCheckAnnotations(true)
	if compiler.Compile(modules); compiler.Failed() {
		t.Fatal(compiler.Errors)
	}
}

func TestSchemaFindsMisspeltInput(t *testing.T) {
	var schema any
	if err := json.Unmarshal([]byte(rego.InputSchema()), &schema); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"input.tol.name", "input.tool.nmae", "input.grant.label.team", "input.subject.group", "input.subject.actor.name", "input.grant.policy", "input.context.now"} {
		schemas := ast.NewSchemaSet()
		schemas.Put(ast.SchemaRootRef, schema)
		module := ast.MustParseModuleWithOpts("package p\n\nx if "+path, ast.ParserOptions{RegoVersion: ast.RegoV1})
		compiler := ast.NewCompiler().WithSchemas(schemas)
		if compiler.Compile(map[string]*ast.Module{"p": module}); !strings.Contains(compiler.Errors.Error(), "undefined ref") {
			t.Errorf("%s: %v", path, compiler.Errors)
		}
	}
}

func TestLibraryHasNoTests(t *testing.T) {
	library := rego.Library()
	if library["mcpermit/decision.rego"] == "" {
		t.Error("the entrypoint is missing")
	}
	for file := range library {
		if strings.HasSuffix(file, "_test.rego") {
			t.Errorf("%s is embedded as policy", file)
		}
	}
}
