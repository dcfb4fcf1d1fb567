package cases

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gocloud.dev/secrets/localsecrets"

	"github.com/mcpermit/mcpermit/pdp/credential"
	"github.com/mcpermit/mcpermit/pdp/store"
	"github.com/mcpermit/mcpermit/test/gateway"
)

// configured is a credential of a server, as mcpermit.yaml has it.
type configured struct {
	Headers    map[string]string `yaml:"headers" json:"headers,omitempty"`
	Query      map[string]string `yaml:"query" json:"query,omitempty"`
	PerSubject bool              `yaml:"per_subject" json:"per_subject,omitempty"`
}

// secret is what the vault has before the cases begin.
type secret struct {
	Name   string `yaml:"name"`
	Holder string `yaml:"holder"` // "": all share it
	Value  string `yaml:"value"`
}

// configuration is what mcpermit.yaml says of the case's server.
func (c *testCase) configuration(house string) map[string]any {
	s := map[string]any{"url": house + "/" + c.server + "/mcp", "trusted": c.Trusted}
	if c.Headers != nil {
		s["headers"] = c.Headers
	}
	if c.Credentials != nil {
		s["credentials"], s["credential"] = c.Credentials, c.Credential
	}
	return s
}

// keep puts the secrets into the vault of a running gateway.
func keep(t *testing.T, g *gateway.Gateway, secrets []secret) {
	t.Helper()
	for _, s := range secrets {
		file := filepath.Join(t.TempDir(), "value")
		if err := os.WriteFile(file, []byte(s.Value), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"credentials", "set", s.Name, "--from-file", file}
		if s.Holder != "" {
			args = append(args, "--holder", s.Holder)
		}
		g.CLI(t, args...)
	}
}

// newValues are the credentials of all cases, for the engine in process, over a
// vault in its database.
func newValues(t *testing.T, db *store.SQLite, wd *world) *credential.Values {
	t.Helper()
	key, err := localsecrets.NewRandomKey()
	if err != nil {
		t.Fatal(err)
	}
	vault, err := credential.NewVault(t.Context(), credential.Options{
		Store: db, Master: credential.MasterKey{Keeper: localsecrets.NewKeeper(key), Name: "test"}, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range wd.secrets {
		if _, err := vault.Set(t.Context(), credential.Key{Kind: credential.KindSecret, Name: s.Name, Holder: s.Holder}, []byte(s.Value)); err != nil {
			t.Fatal(err)
		}
	}
	servers := map[string]credential.ServerValues{}
	for _, c := range wd.cases {
		sets := map[string]credential.ValueSet{}
		for name, of := range c.Credentials {
			sets[name] = credential.ValueSet{Headers: sorted(of.Headers), Query: sorted(of.Query), PerSubject: of.PerSubject}
		}
		servers[c.server] = credential.ServerValues{Headers: sorted(c.Headers), Credentials: sets, Default: c.Credential}
	}
	values, err := credential.NewValues(credential.ValuesOptions{Servers: servers, Vault: vault})
	if err != nil {
		t.Fatal(err)
	}
	return values
}

// sorted are the values in the order of their names.
func sorted(values map[string]string) []credential.Header {
	var list []credential.Header
	for _, name := range slices.Sorted(maps.Keys(values)) {
		list = append(list, credential.Header{Name: name, Value: values[name]})
	}
	return list
}
