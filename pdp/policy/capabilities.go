package policy

import (
	"slices"
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"
)

// cutBuiltins are left out beside every built-in that OPA itself marks as
// non-deterministic: a decision has no side effects, depends on its input
// alone, and ends in time.
var cutBuiltins = []string{
	"bits.lsh", // does not look at the deadline: ran 20 s on one call
	"crypto.x509.parse_and_verify_certificates",              // reads the clock
	"crypto.x509.parse_and_verify_certificates_with_options", // reads the clock unless told not to
	"http.send",
	"io.jwt.decode_verify", // reads the clock unless told not to
	"io.jwt.encode_sign",
	"io.jwt.encode_sign_raw",
	"json.match_schema",  // loads remote references
	"json.verify_schema", // loads remote references
	"net.lookup_ip_addr",
	"opa.runtime",
	"providers.aws.sign_req",
	"rand.intn",
	"rego.parse_module",
	"strings.render_template", // a template's loops do not look at the deadline
	"time.now_ns",
	"trace",
	"uuid.rfc4122",
}

// Capabilities returns what policies may use of Rego: its default language
// without opt-in keywords, and the built-in functions that neither have effects
// nor depend on anything but their operands. (DESIGN section 4) The caller owns
// the returned value.
func Capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion(ast.CapabilitiesRegoVersion(ast.RegoV1))
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.IsNondeterministic() || slices.Contains(cutBuiltins, b.Name)
	})
	// and, or and the other not change what a body means; the weakening for
	// listings knows the default language only.
	c.FutureKeywords = []string{}
	c.Features = slices.DeleteFunc(c.Features, func(feature string) bool {
		return feature == ast.FeatureRegoV2 || feature == ast.FeatureRegoV2Import
	})
	c.AllowNet = []string{}
	return c
}

var capabilities = sync.OnceValue(Capabilities)
