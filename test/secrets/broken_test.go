package secrets

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// mistake is a configuration that does not load. SECRET stands for the canary.
type mistake struct {
	name, yaml string
	secret     kind
}

// kind is of what characters a secret is.
type kind uint8

const (
	awkward kind = iota
	plain        // letters and digits
	ofPEM        // a private key
)

// mistakes are what goes wrong where secrets are written. What stands where a name
// belongs (of a key, a variable, a file) cannot be told from one, and is shown.
var mistakes = []mistake{
	{"an unknown key", "servers: {s: {url: 'http://127.0.0.1:1/', headers: {A: 'SECRET'}, heders: {}}}", awkward},
	{"an unknown key that has the secret", "servers: {s: {url: 'http://127.0.0.1:1/', api_key: 'SECRET'}}", awkward},
	{"a text for a mapping", "servers: {s: {url: 'http://127.0.0.1:1/', headers: 'SECRET'}}", plain},
	{"a list for a text", "policy: {source: policy, token: ['SECRET']}", plain},
	{"a text for a list", "vault: {old: 'SECRET'}", plain},
	{"a syntax error", "policy: {token: 'SECRET'\nservers: [", plain},
	{"a quote that does not end", "policy: {token: \"SECRET}\n", plain},
	{"a key that is there twice", "log: {level: info}\nquota: 'redis://:SECRET@h:1/0'\nquota: 'redis://:SECRET@h:1/0'", plain},
	{"a password in a server's URL", "servers: {s: {url: 'http://u:SECRET@127.0.0.1:1/'}}", plain},
	{"a secret in a server's URL", "servers: {s: {url: '127.0.0.1:1/?api_key=SECRET'}}", plain},
	{"a database of another kind", "state: {database: 'mysql://u:SECRET@h/db'}", plain},
	{"a database without a port", "state: {database: 'postgres://u:SECRET@h:port/db'}\nvault: {master_key: 'env:NO'}", plain},
	{"a database with the password unescaped", "state: {database: 'postgres://u:%zSECRET@h/db'}", plain},
	{"a database that is not there", "state: {database: 'postgres://u:SECRET@127.0.0.1:1/db?connect_timeout=1'}", plain},
	{"a Redis of another kind", "quota: {counts: 'http://:SECRET@h:1/0'}", plain},
	{"a Redis that can't be read", "quota: {counts: 'redis://u:SECRET@h:port/zero'}", plain},
	{"a Redis with the password unescaped", "quota: {counts: 'redis://u:%zSECRET@h:1/0'}", plain},
	{"the key in place of its file", "servers: {s: {url: 'http://127.0.0.1:1/', credentials: {a: {jwt_bearer: {token_url: 'http://127.0.0.1:1/t', issuer: i, key: \"SECRET\"}}}}}", ofPEM},
	{"a secret in place of a token endpoint", "servers: {s: {url: 'http://127.0.0.1:1/', credentials: {a: {client_credentials: {token_url: 'SECRET', client_id: c}}}}}", plain},
	{"the master key in place of its name", "vault: {master_key: 'SECRET'}", plain},
	{"the password of a KMS", "vault: {master_key: 'hashivault://SECRET@h/k?x=%zz'}", plain},
	{"the secret in place of a secret's name", "servers: {s: {url: 'http://127.0.0.1:1/', headers: {A: '${secret:SECRET/+}'}}}", plain},
	{"a webhook's secret that is no base64", "approvals: {webhooks: [{url: 'http://127.0.0.1:1/', secret: 'whsec_SECRET!'}]}", plain},
	{"a webhook without a scheme", "approvals: {webhooks: [{url: 'hooks.example.com/SECRET'}]}", plain},
	{"a webhook that can't be read", "approvals: {webhooks: [{url: 'http://h:port/SECRET'}]}", plain},
	{"a token over plain http", "policy: {source: 'http://bundles.example.com/b.tar.gz', token: 'SECRET'}", plain},
	{"a password in the policy's URL", "policy: 'https://u:SECRET@bundles.example.com/b.tar.gz'", plain},
	{"the key in place of the public key's file", "policy: {source: policy, key_id: k, public_key: \"SECRET\"}", ofPEM},
	{"a client's secret without an id", "console: {oidc: {issuer: 'https://id.example.com', client_secret: 'SECRET'}}", plain},
	{"a secret that no header can carry", "servers: {s: {url: 'http://127.0.0.1:1/', headers: {'A B': 'SECRET'}, numbers: wrong}}", plain},
	{"the token's file in place of the token", "oauth: {url: 'http://h/o', issuers: [{url: 'http://127.0.0.1:1', token: \"file:SECRET\"}]}", ofPEM},
	{"the key of TLS in place of its file", "tls: {cert: c.pem, key: \"SECRET\"}", ofPEM},
	{"the collector's address with a password", "telemetry: {otlp: 'http://u:SECRET@h:port'}", plain},
}

func broken() []canary {
	var all []canary
	for _, m := range mistakes {
		all = append(all, canary{"configuration: " + m.name, strings.SplitN(m.yaml, ":", 2)[0], byCLI})
	}
	return all
}

// breaks has every mistake refused, by both programs where both read it.
func (s *site) breaks(t *testing.T) {
	for i, m := range mistakes {
		name := "configuration: " + m.name
		secret := ""
		switch m.secret {
		case awkward:
			secret = s.l.plant(name)
		case plain:
			secret = s.l.plain(name)
		case ofPEM:
			secret = s.l.keep(name, pemOf(t, newKey(t)))
		}
		dir := filepath.Join(s.dir, "broken", strconv.Itoa(i))
		if err := os.MkdirAll(filepath.Join(dir, "policy"), 0o700); err != nil {
			t.Fatal(err)
		}
		yaml := strings.ReplaceAll(m.yaml, "SECRET", strings.ReplaceAll(secret, "\n", `\n`))
		if !strings.Contains(m.yaml, "policy:") {
			yaml += "\npolicy: policy"
		}
		if !strings.Contains(m.yaml, "telemetry") {
			yaml += "\nadmin: " + gateway.FreeAddress(t) + "\nlisten: " + gateway.FreeAddress(t)
		}
		file := filepath.Join(dir, "mcpermit.yaml")
		if err := os.WriteFile(file, []byte(yaml), 0o600); err != nil {
			t.Fatal(err)
		}
		p := gateway.Run(t, gateway.Program(t, "mcpermit"), "up", "-c", file)
		if err := p.Wait(patience); err == nil || !p.Exited() {
			t.Errorf("%s: it is taken, %v: %s", m.name, err, p.Output())
			p.Kill()
		} else {
			s.l.use(byCLI, name)
		}
		s.p.add(inOutput, name, []byte(p.Output()))
		p = gateway.Run(t, gateway.Program(t, "mcpermit-pep"), "stdio", "--server", "none", "--pdp", "unix:///none", "-c", file)
		if err := p.Wait(patience); err == nil || !p.Exited() {
			t.Errorf("%s: mcpermit-pep takes it, %v: %s", m.name, err, p.Output())
			p.Kill()
		}
		s.p.add(inOutput, name+", mcpermit-pep", []byte(p.Output()))
	}
}
