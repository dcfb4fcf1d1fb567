package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestExample holds that the shipped example loads, also with every key that
// stands in a comment.
func TestExample(t *testing.T) {
	const name = "../../bundles/example/mcpermit.yaml"
	cfg, err := Load(name)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Servers["stripe"].URL == "" || !strings.HasSuffix(cfg.Policy.Source, "bundles/starter/policy") {
		t.Errorf("the example loads as %+v", cfg)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("STRIPE_KEY", "k")
	t.Setenv("BUNDLE_TOKEN", "t")
	t.Setenv("DATABASE_PASSWORD", "d")
	t.Setenv("REDIS_PASSWORD", "r")
	t.Setenv("OIDC_SECRET", "o")
	t.Setenv("WEBHOOK_SECRET", "w")
	t.Setenv("M2M_SECRET", "m")
	cfg, err = parse([]byte(uncommented(string(b))), "/etc/mcpermit")
	if err != nil {
		t.Fatalf("with the comments taken off: %v\n%s", err, uncommented(string(b)))
	}
	want := Policy{Source: "https://bundles.example.com/mcpermit.tar.gz", PublicKey: "/etc/mcpermit/bundle-key.pem", KeyID: "production", Token: "t", Poll: Duration(30 * time.Second), Deadline: Duration(50 * time.Millisecond)}
	if diff := cmp.Diff(want, cfg.Policy); diff != "" {
		t.Error(diff)
	}
	state := State{Dir: "/var/lib/mcpermit", Database: "postgres://mcpermit:d@db.internal/mcpermit?sslmode=verify-full"}
	quota := Quota{Counts: "rediss://mcpermit:r@redis.internal:6379/0", Amounts: "postgres://mcpermit@quotas.internal/mcpermit?sslmode=verify-full"}
	if cfg.State != state || cfg.Quota != quota {
		t.Errorf("state %+v, quota %+v", cfg.State, cfg.Quota)
	}
	if cfg.Servers["stripe"].Headers["Authorization"] != "Bearer k" || cfg.Servers["files"].Isolation != "shared" || cfg.PDP.Clients[0].Name == "" ||
		cfg.People[0].Groups[0] != "finance" || cfg.Console.OIDC.Roles["admin"][0] != "security" || cfg.Approvals.Webhooks[0].Secret != "w" || cfg.Telemetry.OTLP == "" {
		t.Errorf("not everything is there: %+v", cfg)
	}
	if s := cfg.Servers["stripe"]; len(s.Credentials) != 6 || s.Credential != "full" || !s.Credentials["read"].PerSubject || s.Credentials["obo"].TokenExchange.Audience != "stripe" ||
		s.Credentials["signed"].JWTBearer.Key != "/etc/mcpermit/signing.pem" || s.Credentials["own"].Account.Scopes[0] != "repo" {
		t.Errorf("credentials: %+v", s)
	}
	if cfg.OAuth.Issuers[1].Prefix != "k8s:" || cfg.TLS.ClientCA != "/etc/mcpermit/clients-ca.pem" || cfg.Certificates.Grants != "required" ||
		!strings.HasPrefix(cfg.Vault.MasterKey, "awskms://") || cfg.Vault.Old[0] != "file:/etc/mcpermit/master.key" || cfg.Egress.Allow[0] != "10.0.0.0/8" {
		t.Errorf("identity: %+v %+v %+v %+v %+v", cfg.OAuth, cfg.TLS, cfg.Certificates, cfg.Vault, cfg.Egress)
	}
}

// uncommented turns "# key: value" lines into keys and drops prose, and the
// plain `policy:` and `state:` that the long forms stand for.
func uncommented(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		text := strings.TrimLeft(line, " ")
		indent := line[:len(line)-len(text)]
		if rest, ok := strings.CutPrefix(text, "# "); ok {
			key, _, found := strings.Cut(strings.TrimLeft(rest, " -{"), ":")
			if !found || strings.ContainsAny(key, " .`/") || key == "" || key == "http" {
				continue
			}
			line = indent + rest
		}
		if strings.HasPrefix(line, "policy: ../") || strings.HasPrefix(line, "state: ../") {
			continue
		}
		out = append(out, line)
	}
	return strings.Join(out, "")
}

func TestReferences(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "key"), []byte("from a file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PART", "from the environment")
	cfg, err := parse([]byte(`servers: {a: {url: "http://h/", headers: {A: "x ${env:PART} y", B: "${file:key}", C: "$PART ${PART}"}}}`), dir)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{"A": "x from the environment y", "B": "from a file", "C": "$PART ${PART}"}
	if diff := cmp.Diff(want, cfg.Servers["a"].Headers); diff != "" {
		t.Error(diff)
	}
}

// inPlace is a key where its file should be.
const inPlace = `-----BEGIN PRIVATE KEY-----\nc4n4ry\n-----END PRIVATE KEY-----\n`

func TestRefusals(t *testing.T) {
	for text, want := range map[string]string{
		"listen: 8700":                                                             "listen: \"8700\" is not host:port",
		"policy: {source: p, key: x}":                                              "key",
		"policy: {source: p, public_key: k}":                                       "policy.key_id",
		"policy: {source: p, deadline: 50}":                                        "is not a duration such as 50ms",
		"policy: {source: p, deadline: -1s}":                                       "is not a duration such as 50ms",
		"audit: {fsync: sometimes}":                                                "not one of always, interval, never",
		"pdp: {address: 'h:1'}":                                                    "pdp.tls: cert, key and ca are needed",
		"servers: {a: {}}":                                                         "give either url or command",
		"people: [{name: x}]":                                                      "people[0].id",
		"people: [{id: ann}, {id: Ann}]":                                           "there twice",
		"people: [{id: 'group:x'}]":                                                "taken for a group",
		"people: [{id: a, role: boss}]":                                            "people[0].role",
		"approvals: {webhooks: [{url: 'ftp://x/'}]}":                               "webhooks[0].url",
		"servers: {a: {url: 'ftp://h/'}}":                                          "want http(s)://",
		"servers: {a: {url: 'http://u:p@h'}}":                                      "without user name",
		"servers: {a: {command: [x], headers: {A: b}}}":                            "takes its secrets from env",
		"servers: {a: {url: 'http://h/', numbers: lax}}":                           "not one of safe, exact",
		"servers: {a: {url: 'http://h/', timeout: soon}}":                          "is not a duration",
		"oauth: {listen: 'h:1'}":                                                   "oauth.url",
		"oauth: {url: 'https://h'}":                                                "a path of its own",
		"oauth: {url: 'https://h/'}":                                               "without a slash",
		"oauth: {url: 'https://h/o'}":                                              "oauth.issuers",
		"oauth: {url: 'https://h/o', issuers: [{url: x}]}":                         "oauth.issuers[0].url",
		"oauth: {url: 'https://h/o', issuers: [{url: 'https://i', grants: some}]}": "not one of none, required",
		"oauth: {url: 'https://h/o', issuers: [{url: 'https://i'}, {url: 'https://i', prefix: p}]}": "there twice",
		"oauth: {url: 'https://h/o', issuers: [{url: 'https://i'}, {url: 'https://j'}]}":            "issuers[1].prefix",
		"tls: {cert: c}":                                                        "cert and key go together",
		"tls: {client_ca: c}":                                                   "needs cert and key",
		"tls: {cert: c, key: k, require: true}":                                 "tls.client_ca",
		"egress: {allow: [ten]}":                                                "egress.allow[0]",
		"vault: {master_key: secret}":                                           "vault.master_key",
		"servers: {a: {url: 'http://h/', credential: x}}":                       "there is no \"x\"",
		"servers: {a: {url: 'http://h/', credentials: {x: {}}}}":                "give headers, query, env",
		"servers: {a: {url: 'http://h/', credentials: {X: {headers: {A: b}}}}}": "credentials: name",
		"servers: {a: {url: 'http://h/', credentials: {x: {headers: {A: b}}, y: {headers: {A: b}}}}}": "credential: say which",
		"servers: {a: {url: 'http://h/', credentials: {x: {env: {A: b}}}}}":                           "env: only with command",
		"servers: {a: {command: [x], credentials: {x: {headers: {A: b}}}}}":                           "takes its secrets from env",
		"servers: {a: {url: 'http://h/', credentials: {x: {account: {}, jwt_bearer: {}}}}}":           "give one of",
		"servers: {a: {url: 'http://h/', credentials: {x: {client_credentials: {}}}}}":                "token_url",
		"listen: a:1\nlisten: b:1": "listen",
		"policy: {source: p, key_id: k, public_key: \"" + inPlace + "\"}":                                                      "policy.public_key: want the path",
		"tls: {cert: c, key: \"" + inPlace + "\"}":                                                                             "tls.key: want the path",
		"pdp: {address: 'h:1', tls: {key: \"" + inPlace + "\"}}":                                                               "pdp.tls.key: want the path",
		"oauth: {url: 'https://h/o', issuers: [{url: 'https://i', token: \"file:" + inPlace + "\"}]}":                          "oauth.issuers[0].token: want the path",
		"servers: {a: {url: 'http://h/', credentials: {x: {jwt_bearer: {token_url: 'https://t', key: \"" + inPlace + "\"}}}}}": "servers.a.credentials.x.jwt_bearer.key: want the path",
	} {
		if _, err := parse([]byte(text), "."); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func TestWhatUsesTheVault(t *testing.T) {
	for text, want := range map[string]bool{
		`{}`: false,
		`servers: {a: {url: "http://h/", headers: {A: "x"}}}`:                                                      false,
		`servers: {a: {url: "http://h/", headers: {A: "${secret:x}"}}}`:                                            true,
		`servers: {a: {url: "http://h/", credentials: {c: {headers: {A: x}}}}}`:                                    false,
		`servers: {a: {url: "http://h/", credentials: {c: {headers: {A: "Bearer ${secret:x}"}}}}}`:                 true,
		`servers: {a: {url: "http://h/", credentials: {c: {query: {A: "${secret:x}"}}}}}`:                          true,
		`servers: {a: {command: [c], credentials: {c: {env: {A: "${secret:x}"}}}}}`:                                true,
		`servers: {a: {url: "http://h/", credentials: {c: {account: {}}}}}`:                                        true,
		`servers: {a: {url: "http://h/", credentials: {c: {client_credentials: {token_url: "https://h/token"}}}}}`: true,
	} {
		cfg, err := parse([]byte(text), t.TempDir())
		if err != nil || cfg.UsesVault() != want {
			t.Errorf("%s: %v, %v; want %v", text, err == nil && cfg.UsesVault(), err, want)
		}
	}
}

func TestMasterKeyFilesAreRelativeToTheConfiguration(t *testing.T) {
	cfg, err := parse([]byte(`vault: {master_key: "file:new.key", old: ["file:/etc/old.key", "env:KEY", "awskms:///alias/a?region=x"]}`), "/etc/mcpermit")
	if err != nil {
		t.Fatal(err)
	}
	want := Vault{MasterKey: "file:/etc/mcpermit/new.key", Old: []string{"file:/etc/old.key", "env:KEY", "awskms:///alias/a?region=x"}}
	if diff := cmp.Diff(want, cfg.Vault); diff != "" {
		t.Errorf("vault (-want +got):\n%s", diff)
	}
}

func TestTheDefaultCredential(t *testing.T) {
	one := map[string]Credential{"a": {}}
	for _, c := range []struct {
		server Server
		want   string
	}{{Server{}, ""}, {Server{Credentials: one}, "a"}, {Server{Credentials: map[string]Credential{"a": {}, "b": {}}, Credential: "b"}, "b"}} {
		if got := c.server.DefaultCredential(); got != c.want {
			t.Errorf("%v: %q, want %q", c.server, got, c.want)
		}
	}
}
