package policy

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// Names that mean something in a bundle (OPA's format).
const (
	manifestFile      = ".manifest"
	manifestProtoFile = ".manifest.pb"
	signaturesFile    = ".signatures.json"
)

// Limits bound what is read of one policy, so that a hostile or broken bundle
// cannot exhaust the process. The zero value of a field means its default.
type Limits struct {
	ArchiveBytes int64 // of the compressed archive; default 64 MiB
	FileBytes    int64 // of one file; default 64 MiB
	TotalBytes   int64 // of all files together; default 256 MiB
	Files        int   // how many there are; default 20000
}

func (l Limits) orDefault() Limits {
	const mib = 1 << 20
	if l.ArchiveBytes <= 0 {
		l.ArchiveBytes = 64 * mib
	}
	if l.FileBytes <= 0 {
		l.FileBytes = 64 * mib
	}
	if l.TotalBytes <= 0 {
		l.TotalBytes = 256 * mib
	}
	if l.Files <= 0 {
		l.Files = 20000
	}
	return l
}

// entry is one file of a policy before it is understood.
type entry struct {
	path string // slash-separated, relative to the policy's root, clean
	data []byte
}

func (e entry) is(names ...string) bool { return slices.Contains(names, path.Base(e.path)) }

// hidden reports whether the file, or a directory above it, is hidden.
func (e entry) hidden() bool {
	for element := range strings.SplitSeq(e.path, "/") {
		if strings.HasPrefix(element, ".") {
			return true
		}
	}
	return false
}

func (e entry) isModule() bool { return strings.HasSuffix(e.path, bundle.RegoExt) }
func (e entry) isTest() bool   { return strings.HasSuffix(e.path, "_test"+bundle.RegoExt) }

// readArchive understands the files of a bundle.tar.gz. Where keys is set the
// bundle must be signed with it; where it is nil the bundle must not claim to
// be signed, unless unverified says that the caller does not mind.
func readArchive(entries []entry, keys *verification, unverified bool) (*bundle.Bundle, error) {
	if err := checkLayout(entries); err != nil {
		return nil, err
	}
	data, err := gatherData(entries, isBundleData)
	if err != nil {
		return nil, err
	}
	verify, err := keys.config(entries, unverified)
	if err != nil {
		return nil, err
	}
	b, err := readEntries(entries, verify)
	if err != nil {
		return nil, err
	}
	// A signature covers the data as OPA's lenient readers see it. What ours
	// sees must be the same, or the signature says nothing about it.
	if !sameData(b.Data, data) {
		return nil, errors.New("a YAML data file of the bundle reads differently under YAML 1.1 and 1.2: write it as data.json")
	}
	b.Data = data
	b.Modules = slices.DeleteFunc(b.Modules, func(m bundle.ModuleFile) bool {
		return entry{path: m.Path}.isTest()
	})
	return finish(b)
}

// readTree understands the files of a policy directory. Its JSON and YAML
// files are data at the path of their directory, whatever their own names are,
// as with `opa eval --data DIR`.
func readTree(entries []entry) (*bundle.Bundle, error) {
	data, err := gatherData(entries, isTreeData)
	if err != nil {
		return nil, err
	}
	entries = slices.DeleteFunc(slices.Clone(entries), isTreeData)
	b, err := readEntries(entries, nil)
	if err != nil {
		return nil, err
	}
	b.Data = data
	return finish(b)
}

// readEntries has OPA's reader verify the files and parse the modules.
func readEntries(entries []entry, verify *bundle.VerificationConfig) (*bundle.Bundle, error) {
	for _, e := range entries {
		if e.path == manifestFile {
			if err := checkManifest(e); err != nil {
				return nil, err
			}
		}
	}
	b, err := bundle.NewCustomReader(&entryLoader{entries: entries}).
		WithRegoVersion(ast.RegoV1).
		WithProcessAnnotations(true).
		WithLazyLoadingMode(false).
		WithBundleVerificationConfig(verify).
		WithSkipBundleVerification(verify == nil).
		Read()
	if err != nil {
		return nil, err
	}
	return &b, nil
}

// finish sorts the modules and holds the bundle to its manifest. What its
// modules and data may define is for Build to check.
func finish(b *bundle.Bundle) (*bundle.Bundle, error) {
	slices.SortFunc(b.Modules, func(x, y bundle.ModuleFile) int { return strings.Compare(x.Path, y.Path) })
	if v := b.Manifest.RegoVersion; v != nil && *v != 1 || len(b.Manifest.FileRegoVersions) > 0 {
		return nil, errors.New(".manifest: only rego_version 1 is evaluated here: rewrite older modules with `opa fmt --v0-v1`")
	}
	return b, checkRoots(b)
}

// checkLayout refuses the files of a bundle that would not mean what their
// author thinks.
func checkLayout(entries []entry) error {
	for _, e := range entries {
		switch {
		case e.is("patch.json"):
			return errors.New("this is a delta bundle (patch.json), and those are not supported: serve whole bundles")
		case e.is(bundle.WasmFile, bundle.PlanFile, bundle.PlanProtoFile):
			return fmt.Errorf("%s: only Rego is evaluated here: build the bundle with the target `rego`", e.path)
		case e.path == manifestFile, e.path == manifestProtoFile, e.path == signaturesFile:
		case strings.HasSuffix(e.path, manifestFile), strings.HasSuffix(e.path, manifestProtoFile), e.is(signaturesFile):
			return fmt.Errorf("%s: it belongs at the root of the bundle", e.path)
		case e.hidden() && (e.isModule() || isBundleData(e)):
			return fmt.Errorf("%s: policy in a hidden file: rename it, or leave it out of the archive", e.path)
		}
	}
	return nil
}

func isBundleData(e entry) bool { return e.is("data.json", "data.yaml", "data.yml") }

func isTreeData(e entry) bool {
	ext := path.Ext(e.path)
	return ext == ".json" || ext == ".yaml" || ext == ".yml"
}
