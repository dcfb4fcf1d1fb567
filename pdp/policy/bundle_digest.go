package policy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"hash"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/bundle"
)

// Digest names the content of a bundle: its revision, the path and bytes of
// each module, and its data as they read, whatever files they came from. So a
// directory and the bundle.tar.gz built from it under the same revision have
// one digest, and a new signature, another compression or the order of an
// archive does not change it. The form is "sha256:" and lower-case hex.
func Digest(b *bundle.Bundle) string {
	h := sha256.New()
	field(h, "mcpermit policy 1")
	field(h, b.Manifest.Revision)
	modules := slices.Clone(b.Modules)
	slices.SortFunc(modules, func(x, y bundle.ModuleFile) int { return strings.Compare(x.Path, y.Path) })
	for _, m := range modules {
		field(h, strings.TrimPrefix(m.Path, "/"))
		field(h, string(m.Raw))
	}
	// Marshal sorts names and writes json.Number as it stands. It cannot fail
	// on what readJSON and readYAML return.
	data, _ := json.Marshal(b.Data)
	field(h, string(data))
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// field writes s so that no two sequences of fields are the same bytes.
func field(h hash.Hash, s string) {
	var size [8]byte
	binary.BigEndian.PutUint64(size[:], uint64(len(s)))
	h.Write(size[:])
	h.Write([]byte(s))
}
