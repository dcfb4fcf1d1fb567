// Package secrets plants secrets wherever one can stand, has the whole program use
// each of them, and then looks for them in everything that it has written or said.
//
// What is not searched: the arguments and the environment of processes, which are
// the system's to keep; a program's memory; what an act is there to hand out, to whom
// it does (the token on the standard output of `grants create`, a browser's cookies);
// and STATE/master.key.
//
// What a server answers is its own: a message of the protocol goes to the client as
// it is, even if it repeats the credential that it was sent. What is no message does
// not, and of the server's headers only a session id and a number of seconds.
package secrets

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mcpermit/mcpermit/test/gateway"
)

// least is how many canaries there have to be.
const least = 40

func TestI6_NoSecretIsAnywhere(t *testing.T) {
	l, p := newLedger(), &places{}
	a := newAuthority(t, l)
	u := newUpstream(t, l, func() string { return a.URL })
	collector := p.collect(t)

	one := newSite(t, "mcpermit up", l, p, u, a)
	one.oneProcess(collector)
	two := newSite(t, "two processes", l, p, u, a)
	two.twoProcesses(collector)
	one.breaks(t)

	used := l.proven(t)
	t.Logf("%d secrets were in use; searched for each in\n%s", len(used), p.sum(t))
	if len(used) < least {
		t.Errorf("only %d secrets were in use, want at least %d", len(used), least)
	}
	for _, h := range p.search(l, used) {
		t.Error(h)
	}
}

func newSite(t *testing.T, name string, l *ledger, p *places, u *upstream, a *authority) *site {
	t.Helper()
	return &site{T: t, l: l, p: p, up: u, authority: a, dir: t.TempDir(), name: name}
}

// server is an upstream of the configuration.
func (s *site) server(path string, more map[string]any) map[string]any {
	all := map[string]any{"url": s.up.URL + "/" + path}
	for key, value := range more {
		all[key] = value
	}
	return all
}

// oauth is a server with one kind of credential.
func (s *site) oauth(path, kind string, of map[string]any) map[string]any {
	return s.server(path, map[string]any{"credentials": map[string]any{"main": map[string]any{kind: of}}})
}

func (s *site) servers() map[string]any {
	s.Helper()
	l, at := s.l, s.authority.URL+"/token"
	s.Setenv("SECRETS_TEST_HEADER", l.plain("header from the environment"))
	child := filepath.Join(s.dir, "child")
	assertions := newKey(s)
	s.authority.assertion = &assertions.PublicKey
	return map[string]any{
		"plain": map[string]any{
			"url": s.up.URL + "/plain?api_key=" + l.plain("query of a server's URL"),
			"headers": map[string]any{
				"X-Fixed": l.plant("header of the configuration"), "X-Environment": "${env:SECRETS_TEST_HEADER}",
				"X-File": "${file:" + s.file("header", l.plant("header from a file")+"\n") + "}",
			},
		},
		"shared": s.server("shared", map[string]any{"credentials": map[string]any{"main": map[string]any{
			"headers": map[string]any{"Authorization": "Bearer ${secret:shared}"}, "query": map[string]any{"account": "${secret:account}"},
		}}}),
		"own":      s.server("own", map[string]any{"credentials": map[string]any{"own": map[string]any{"headers": map[string]any{"X-Key": "${secret:personal}"}, "per_subject": true}}}),
		"echo":     s.server("echo", map[string]any{"headers": map[string]any{"Authorization": l.plain("header that the server repeats")}}),
		"machine":  s.oauth("machine", "client_credentials", map[string]any{"token_url": at, "client_id": "machine", "client_secret": l.plant("client secret")}),
		"repeated": s.oauth("repeated", "client_credentials", map[string]any{"token_url": at, "client_id": "repeated", "auth_style": "body", "client_secret": l.plant("client secret that is repeated")}),
		"coded":    s.oauth("coded", "client_credentials", map[string]any{"token_url": at, "client_id": "coded", "client_secret": l.plain("client secret that is repeated as the error")}),
		"people":   s.oauth("people", "account", map[string]any{}),
		"signed":   s.oauth("signed", "jwt_bearer", map[string]any{"token_url": at, "issuer": "mcpermit", "key": s.file("key.pem", l.keep("key of assertions", pemOf(s, assertions)))}),
		"traded":   s.oauth("traded", "token_exchange", map[string]any{"token_url": at, "client_id": "trader"}),
		"child": map[string]any{
			"command":     []string{executable(s)},
			"env":         map[string]any{envChild: "1", envWitness: child, "FIXED": l.plant("environment of a command")},
			"credentials": map[string]any{"main": map[string]any{"env": map[string]any{"KEPT": "${secret:child}"}}},
		},
	}
}

// oneProcess drives `mcpermit up`, which keeps its state itself.
func (s *site) oneProcess(collector string) {
	s.Helper()
	l := s.l
	s.Gateway = gateway.Prepare(s, gateway.Config{Policy: "policy", Servers: s.servers(), Extra: map[string]any{
		"log": map[string]any{"level": "debug", "format": "json"}, "telemetry": map[string]any{"otlp": collector},
		"egress": map[string]any{"allow": []string{"127.0.0.0/8"}, "http": true},
		"people": []any{map[string]any{"id": "ada", "role": "admin"}, map[string]any{"id": "pam", "role": "admin"}},
		"console": map[string]any{"oidc": map[string]any{
			"issuer": s.authority.URL, "client_id": "console", "client_secret": l.plant("client secret of the console"), "roles": map[string]any{"admin": []string{"security"}},
		}},
		"approvals": map[string]any{"webhooks": []any{
			map[string]any{"url": s.up.URL + "/hooks/" + l.plain("path of a webhook"), "secret": l.plant("secret of a webhook")},
			map[string]any{"url": s.up.URL + "/hooks/" + l.plain("path of a webhook that fails"), "format": "slack"},
		}},
	}})
	s.Configure(s, map[string]any{"oauth": map[string]any{
		"url": s.URL + "/oauth", "issuers": []any{map[string]any{"url": s.authority.URL, "jwks": s.authority.URL + "/keys", "token": l.plant("token for the issuer's keys")}},
	}})
	s.Up(s)
	l.keep("master key that was made", strings.TrimSpace(s.read(filepath.Join(s.StateDir, "master.key"))))

	tail := gateway.Run(s, gateway.Program(s, "mcpermit"), "-c", s.ConfigFile, "audit", "tail", "-o", "json")
	b := s.browser()
	b.signIn("ada")
	stop := b.watch("/decisions/events")
	s.grants()
	s.malformed()
	s.accessTokens()
	s.secrets()
	s.masked()
	s.echoes()
	s.tokens(b)
	s.approval()
	s.consoleByProvider()
	s.slips()
	s.inspect()
	b.crawl()
	stop()
	s.p.directory(s.T, inState, s.StateDir, "master.key")
	if err := tail.Signal(os.Interrupt); err != nil {
		s.Error(err)
	}
	_ = tail.Wait(patience)
	s.stop("mcpermit up", s.Process)
	s.p.add(inQuery, "audit tail", []byte(tail.Output()))
	s.newMasterKey()
	s.p.directory(s.T, inState, s.StateDir, "master.key")
}
