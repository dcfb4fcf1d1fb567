package secrets

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
)

// canary is one secret: what it is, where it is planted, and who can tell that it
// was in use there.
type canary struct{ name, plant, witness string }

// Witnesses. Each sees what it was sent, or what came of it, and says so to the
// ledger; what no witness has seen does not count.
const (
	byUpstream  = "the upstream server"
	byChild     = "the upstream server that is a command"
	byAuthority = "the authorization server"
	byReceiver  = "the receiver of webhooks"
	byBundles   = "the server of bundles"
	byGateway   = "what the gateway answers" // as the secret deserves
	byConsole   = "the console"
	byCLI       = "the command line" // which did, or refused, what it was asked
	byVault     = "calls that carry what it has sealed"
	byPostgres  = "PostgreSQL"
	byRedis     = "Redis"
)

// canaries are all of them.
var canaries = slices.Concat([]canary{
	{"grant token", "Authorization of a client", byGateway},
	{"grant token, revoked", "Authorization, before and after", byGateway},
	{"grant token, rotated away", "Authorization, before and after", byGateway},
	{"grant token, rotated to", "Authorization", byGateway},
	{"grant token, delegated by the command line", "made with MCPERMIT_TOKEN; Authorization", byGateway},
	{"grant token, delegated over HTTP", "answer of POST /grants; Authorization", byGateway},
	{"grant token, never issued", "Authorization", byGateway},
	{"grant token, at the listener for access tokens", "Authorization", byGateway},
	{"grant token of a stdio client", "MCPERMIT_TOKEN of mcpermit-pep stdio", byGateway},
	{"grant token in front of two processes", "Authorization at mcpermit-pep proxy", byGateway},
	{"grant token, revoked in the shared database", "Authorization at mcpermit-pep proxy", byGateway},

	{"access token", "Authorization", byGateway},
	{"access token, expired", "Authorization", byGateway},
	{"access token, for another audience", "Authorization", byGateway},
	{"access token, of another key", "Authorization", byGateway},
	{"access token, at the listener for grants", "Authorization", byGateway},
	{"token for the issuer's keys", "oauth.issuers.token", byAuthority},

	{"token in the query", "?access_token=", byGateway},
	{"first of two Authorization headers", "Authorization", byGateway},
	{"second of two Authorization headers", "Authorization", byGateway},
	{"password of Basic", "Authorization: Basic", byGateway},
	{"cookie of a client", "Cookie", byGateway},
	{"token in a frame that is no JSON", "body", byGateway},
	{"token in a name that is there twice", "body", byGateway},
	{"token in a header that is too long", "Authorization", byGateway},
	{"token as session id", "Mcp-Session-Id", byGateway},
	{"token as the name of a server", "path", byGateway},

	{"header of the configuration", "servers.plain.headers", byUpstream},
	{"header from the environment", "${env:NAME}", byUpstream},
	{"header from a file", "${file:PATH}", byUpstream},
	{"query of a server's URL", "servers.plain.url", byUpstream},
	{"secret that all share", "mcpermit credentials set, in a header", byUpstream},
	{"secret that was replaced", "mcpermit credentials set", byUpstream},
	{"secret in the query", "mcpermit credentials set --from-env", byUpstream},
	{"secret of a holder", "mcpermit credentials set --holder --from-file", byUpstream},
	{"environment of a command", "servers.child.env", byChild},
	{"secret in the environment of a command", "mcpermit credentials set", byChild},
	{"header that the server repeats", "servers.echo.headers", byUpstream},
	{"secret in front of two processes", "mcpermit credentials set, in PostgreSQL", byUpstream},

	{"client secret", "client_credentials.client_secret", byAuthority},
	{"token of client credentials", "answer of the token endpoint", byUpstream},
	{"token of client credentials, renewed", "answer of the token endpoint", byUpstream},
	{"client secret that is repeated", "client_credentials.client_secret, auth_style body", byAuthority},
	{"client secret that is repeated as the error", "client_credentials.client_secret", byAuthority},
	{"client secret of a registration", "answer of the registration endpoint", byAuthority},
	{"authorization code", "redirect to /oauth/callback", byAuthority},
	{"state of an authorization", "address of the authorization server", byAuthority},
	{"verifier of PKCE", "code_verifier", byAuthority},
	{"access token of an account", "answer of the token endpoint", byUpstream},
	{"refresh token of an account", "answer of the token endpoint", byAuthority},
	{"access token of an account, renewed", "answer of the token endpoint", byUpstream},
	{"refresh token of an account, that is repeated", "answer of the token endpoint", byAuthority},
	{"key of assertions", "jwt_bearer.key", byAuthority},
	{"assertion", "assertion", byAuthority},
	{"token for an assertion", "answer of the token endpoint", byUpstream},
	{"subject token", "Authorization, then subject_token", byAuthority},
	{"token in exchange", "answer of the token endpoint", byUpstream},

	{"master key that was made", "STATE/master.key", byVault},
	{"master key in a file", "vault.master_key: file:PATH", byVault},
	{"master key in the environment", "vault.master_key: env:NAME", byVault},

	{"sign-in link", "mcpermit console login", byConsole},
	{"session of the console", "Set-Cookie", byConsole},
	{"client secret of the console", "console.oidc.client_secret", byAuthority},
	{"code of a console sign-in that fails", "redirect to /sign-in/oidc/callback", byAuthority},
	{"code of a console sign-in", "redirect to /sign-in/oidc/callback", byAuthority},
	{"ID token of a console sign-in", "answer of the token endpoint", byConsole},
	{"secret of a webhook", "approvals.webhooks.secret", byReceiver},
	{"path of a webhook", "approvals.webhooks.url", byReceiver},
	{"path of a webhook that fails", "approvals.webhooks.url", byReceiver},
	{"state of an approval", "requestState", byGateway},

	{"password of PostgreSQL", "state.database", byPostgres},
	{"password of Redis", "quota.counts", byRedis},
	{"token for bundles", "policy.token", byBundles},
}, arguments, slips, broken())

// arguments are what tools are called with; their own servers get it.
var arguments = []canary{
	{"argument that the policy masks", "note", byUpstream},
	{"argument with a secret's name", "password", byUpstream},
	{"argument deep inside", "options.headers.X-Api-Key", byUpstream},
	{"GitHub token", "text of an argument", byUpstream},
	{"AWS key", "text of an argument", byUpstream},
	{"Stripe key", "text of an argument", byUpstream},
	{"JSON Web Token", "text of an argument", byUpstream},
	{"private key", "text of an argument", byUpstream},
	{"password in a URL", "text of an argument", byUpstream},
	{"grant token in an argument", "text of an argument", byUpstream},
	{"argument of a denied call", "password", byGateway},
	{"argument of a call that waits", "password", byUpstream},
}

// slips are mistakes on the command line.
var slips = []canary{
	{"value given as an argument", "mcpermit credentials set NAME VALUE", byCLI},
	{"value given as the name", "mcpermit credentials set VALUE", byCLI},
	{"value that is too long", "standard input", byCLI},
	{"value that no header can carry", "standard input", byCLI},
	{"token given in place of an id", "mcpermit grants show TOKEN", byCLI},
	{"token that may not delegate", "MCPERMIT_TOKEN of mcpermit grants delegate", byCLI},
}

// ledger knows the values of the canaries and who has seen them. It is safe for
// concurrent use.
type ledger struct {
	mu    sync.Mutex
	value map[string]string
	used  map[string]bool
}

func newLedger() *ledger { return &ledger{value: map[string]string{}, used: map[string]bool{}} }

// plant makes a value for a canary: of 52 random letters and digits, with what
// encodings change between them.
func (l *ledger) plant(name string) string {
	return l.keep(name, rand.Text()+`/+&="<~`+rand.Text())
}

// plain makes one of letters and digits alone, where nothing else can be.
func (l *ledger) plain(name string) string { return l.keep(name, rand.Text()+rand.Text()) }

// keep notes a value that somebody else has made.
func (l *ledger) keep(name, value string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.ContainsFunc(canaries, func(c canary) bool { return c.name == name }) || len(value) < 16 {
		panic(fmt.Sprintf("no canary %q, or of %d bytes", name, len(value)))
	}
	if old := l.value[name]; old != "" && old != value {
		panic(fmt.Sprintf("a second value of %q", name))
	}
	l.value[name] = value
	return value
}

func (l *ledger) of(name string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.value[name]
}

// saw is a witness who was sent the text.
func (l *ledger) saw(witness string, text ...string) {
	all := strings.Join(text, "\n")
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range canaries {
		if v := l.value[c.name]; c.witness == witness && v != "" && strings.Contains(all, v) {
			l.used[c.name] = true
		}
	}
}

// seen says whether a witness has seen a canary.
func (l *ledger) seen(name string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.used[name]
}

// use is a witness who has seen what came of a canary.
func (l *ledger) use(witness, name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	i := slices.IndexFunc(canaries, func(c canary) bool { return c.name == name })
	if i < 0 || canaries[i].witness != witness {
		panic(fmt.Sprintf("%s is no witness of %q", witness, name))
	}
	l.used[name] = l.value[name] != ""
}

// proven returns the canaries that were in use, and fails the test for the others.
func (l *ledger) proven(t *testing.T) []canary {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []canary
	for _, c := range canaries {
		if l.used[c.name] {
			all = append(all, c)
		} else {
			t.Errorf("%s (%s): %s has not seen it in use", c.name, c.plant, c.witness)
		}
	}
	return all
}
