// Package imports holds who may import whom. Each rule says why it is there.
package imports

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"
)

const module = "github.com/mcpermit/mcpermit/"

// rules forbid a set of packages to reach others, over any number of steps.
var rules = []struct {
	why    string
	from   string   // prefix of the import path inside the module
	except []string // prefixes under from that the rule does not bind
	never  []string // prefixes of import paths
}{
	{
		why:   "an enforcement point holds no policy: it must not be able to evaluate one",
		from:  "pep",
		never: []string{"github.com/open-policy-agent/", module + "pdp", module + "rego"},
	},
	{
		why:   "an enforcement point keeps nothing: no grants, no secrets, no store",
		from:  "pep",
		never: []string{"modernc.org/sqlite", "github.com/jackc/", "github.com/redis/", "github.com/tink-crypto/"},
	},
	{
		why:   "the thin program stays thin",
		from:  "cmd/mcpermit-pep",
		never: []string{"github.com/open-policy-agent/", "modernc.org/sqlite", module + "pdp", module + "rego"},
	},
	{
		why:   "the decision point knows no wire: frames and Envoy are the enforcement points' business",
		from:  "pdp",
		never: []string{module + "pep", "github.com/envoyproxy/"},
	},
	{
		why:   "the reader is pure: it can be fuzzed, and reused where there is no HTTP server",
		from:  "pep/mcp",
		never: []string{"net/http", module + "pep/proxy", module + "proto"},
	},
	{
		why:    "SDK types lose fields and change numbers: they are for tests, the demo and nothing else",
		from:   "",
		except: []string{"test", "cmd/mcpermit-demo"},
		never:  []string{"github.com/modelcontextprotocol/", "github.com/mark3labs/"},
	},
	{
		why:    "where a master key is, is a program's business: everything else knows that something encrypts",
		from:   "",
		except: []string{"cmd/mcpermit"},
		never:  []string{"gocloud.dev/", "github.com/aws/", "github.com/Azure/", "cloud.google.com/go/kms/", "github.com/hashicorp/vault/"},
	},
	{why: "one job each", from: "pdp/identity", never: []string{module + "pdp/approval", module + "pdp/audit", module + "pdp/catalog", module + "pdp/credential", module + "pdp/egress", module + "pdp/policy", module + "pdp/quota", module + "pdp/store"}},
	{why: "one job each", from: "pdp/approval", never: []string{module + "pdp/identity", module + "pdp/audit", module + "pdp/catalog", module + "pdp/credential", module + "pdp/policy", module + "pdp/quota", module + "pdp/store"}},
	{why: "one job each", from: "pdp/quota", never: []string{module + "pdp/identity", module + "pdp/approval", module + "pdp/audit", module + "pdp/catalog", module + "pdp/credential", module + "pdp/policy", module + "pdp/store"}},
	{why: "one job each", from: "pdp/catalog", never: []string{module + "pdp/identity", module + "pdp/approval", module + "pdp/audit", module + "pdp/credential", module + "pdp/policy", module + "pdp/quota", module + "pdp/store"}},
	{why: "one job each", from: "pdp/credential", never: []string{module + "pdp/identity", module + "pdp/approval", module + "pdp/audit", module + "pdp/catalog", module + "pdp/policy", module + "pdp/quota", module + "pdp/store"}},
	{why: "one job each", from: "pdp/audit", never: []string{module + "pdp/identity", module + "pdp/approval", module + "pdp/catalog", module + "pdp/credential", module + "pdp/policy", module + "pdp/quota", module + "pdp/store"}},
	{why: "one job each", from: "pdp/policy", never: []string{module + "pdp/identity", module + "pdp/approval", module + "pdp/audit", module + "pdp/catalog", module + "pdp/credential", module + "pdp/quota", module + "pdp/store"}},
	{
		why:    "the console is a program's front: everything else works without it, and its pages are nobody's library",
		from:   "pdp",
		except: []string{"pdp/console"},
		never:  []string{module + "pdp/console"},
	},
	{why: "the guard of outgoing requests is everybody's: it knows nothing of what is asked for", from: "pdp/egress", never: []string{module + "pdp", module + "proto", module + "cmd"}},
	{why: "who signs in is a small thing that a store can keep", from: "pdp/signin", never: []string{module + "pdp", "net/http"}},
	{why: "the contract depends on nothing of ours", from: "proto", never: []string{module + "pdp", module + "pep", module + "cmd"}},
	{why: "tests are not linked into programs", from: "cmd", never: []string{module + "test"}},
}

func TestImportDirection(t *testing.T) {
	deps := dependencies(t)
	for _, r := range rules {
		bound := 0
		for pkg, reached := range deps {
			inside := strings.TrimPrefix(pkg, module)
			if !under(inside, r.from) || anyUnder(inside, r.except) {
				continue
			}
			bound++
			for _, d := range reached {
				if anyUnder(d, r.never) && !under(strings.TrimPrefix(d, module), r.from) {
					t.Errorf("%s reaches %s: %s", inside, d, r.why)
				}
			}
		}
		if bound == 0 {
			t.Errorf("no package under %q: the rule %q holds nothing", r.from, r.why)
		}
	}
}

func anyUnder(path string, prefixes []string) bool {
	for _, p := range prefixes {
		if under(path, p) {
			return true
		}
	}
	return false
}

// under says whether path is prefix or below it. A prefix that ends in a slash
// stands for everything that begins with it.
func under(path, prefix string) bool {
	return prefix == "" || path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}

// dependencies maps every package of the module to all it reaches, tests aside.
func dependencies(t *testing.T) map[string][]string {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps=false", "-json=ImportPath,Deps", "../../...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	deps := map[string][]string{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Deps       []string
		}
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return deps
		} else if err != nil {
			t.Fatal(err)
		}
		deps[p.ImportPath] = p.Deps
	}
}
