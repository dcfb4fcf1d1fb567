package credential_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mcpermit/mcpermit/pdp/credential"
)

// watched counts what is read of a vault, and can be away.
type watched struct {
	credential.Vault
	reads int
	err   error
}

func (w *watched) Get(ctx context.Context, k credential.Key) (credential.Entry, error) {
	w.reads++
	if w.err != nil {
		return credential.Entry{}, w.err
	}
	return w.Vault.Get(ctx, k)
}

func newValues(t *testing.T, o credential.ValuesOptions) *credential.Values {
	t.Helper()
	v, err := credential.NewValues(o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func header(name, value string) []credential.Header {
	return []credential.Header{{Name: name, Value: value}}
}

func material(t *testing.T, v *credential.Values, r credential.Request) credential.Material {
	t.Helper()
	m, err := v.For(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestValuesOfAServer(t *testing.T) {
	vault := newVault(t, newStore(t), "a")
	set(t, vault, secret("key", ""), "shared")
	set(t, vault, secret("key", "ada"), "ada's")
	set(t, vault, secret("nested", ""), "${secret:key}")
	v := newValues(t, credential.ValuesOptions{Vault: vault, Servers: map[string]credential.ServerValues{
		"plain": {Headers: header("X-Tenant", "acme")},
		"one": {
			Headers: header("X-Tenant", "acme"), Default: "main",
			Credentials: map[string]credential.ValueSet{
				"main": {Headers: header("Authorization", "Bearer ${secret:key}"), Query: header("k", "a${secret:key}b${secret:key}")},
				"own":  {Headers: header("Authorization", "${secret:key}"), PerSubject: true},
				"odd":  {Headers: header("X", "${secret:nested} $key ${other} ${env:X}")},
			},
		},
		"command": {Default: "env", Credentials: map[string]credential.ValueSet{"env": {Env: header("TOKEN", "${secret:key}")}}},
	}})
	for what, c := range map[string]struct {
		r    credential.Request
		want credential.Material
	}{
		"no server":        {credential.Request{Server: "other"}, credential.Material{}},
		"headers alone":    {credential.Request{Server: "plain", Holder: "ada"}, credential.Material{Headers: header("X-Tenant", "acme")}},
		"shared":           {credential.Request{Server: "one", Holder: "bob"}, credential.Material{Name: "main", Headers: append(header("X-Tenant", "acme"), header("Authorization", "Bearer shared")...), Query: header("k", "asharedbshared")}},
		"of nobody":        {credential.Request{Server: "command"}, credential.Material{Name: "env", Env: header("TOKEN", "shared")}},
		"the holder's":     {credential.Request{Server: "command", Holder: "ada"}, credential.Material{Name: "env", Holder: "ada", Env: header("TOKEN", "ada's")}},
		"chosen":           {credential.Request{Server: "one", Name: "own", Holder: "ada"}, credential.Material{Name: "own", Holder: "ada", Headers: append(header("X-Tenant", "acme"), header("Authorization", "ada's")...)}},
		"never read twice": {credential.Request{Server: "one", Name: "odd"}, credential.Material{Name: "odd", Headers: append(header("X-Tenant", "acme"), header("X", "${secret:key} $key ${other} ${env:X}")...)}},
	} {
		if diff := cmp.Diff(c.want, material(t, v, c.r), cmp.Comparer(func(a, b credential.Header) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", what, diff)
		}
		renewed, err := v.Renew(t.Context(), c.r, 0)
		if err != nil || renewed.Generation != 0 {
			t.Errorf("%s: renewed %v, %v", what, renewed, err)
		}
	}
	for what, r := range map[string]credential.Request{
		"an unknown name":                    {Server: "one", Name: "two"},
		"a name of a server without any":     {Server: "plain", Name: "main"},
		"a name of a server that is unknown": {Server: "other", Name: "main"},
		"a name of another server":           {Server: "command", Name: "main"},
	} {
		_, err := v.For(t.Context(), r)
		if unknown := (*credential.UnknownError)(nil); !errors.As(err, &unknown) || unknown.Server != r.Server || unknown.Name != r.Name {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestASecretThatIsMissingIsNamed(t *testing.T) {
	vault := newVault(t, newStore(t), "a")
	set(t, vault, secret("key", ""), "sk_live_c4n4ry")
	v := newValues(t, credential.ValuesOptions{Vault: vault, Servers: map[string]credential.ServerValues{"s": {Credentials: map[string]credential.ValueSet{
		"own":    {Headers: header("Authorization", "${secret:key}"), PerSubject: true},
		"shared": {Headers: header("Authorization", "${secret:key}${secret:absent}")},
	}}}})
	for what, c := range map[string]struct {
		r    credential.Request
		want string
	}{
		"own":              {credential.Request{Server: "s", Name: "own", Holder: "ada"}, `"ada" has no secret "key" of its own`},
		"own of nobody":    {credential.Request{Server: "s", Name: "own"}, `no secret "key" of its own`},
		"shared by nobody": {credential.Request{Server: "s", Name: "shared", Holder: "ada"}, `the secret "absent" is not set; ` + "`mcpermit credentials set absent`"},
	} {
		m, err := v.For(t.Context(), c.r)
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "c4n4ry") || len(m.Headers) != 0 {
			t.Errorf("%s: %v, %v; want %q", what, m, err, c.want)
		}
	}
}

func TestSecretsAreReadOnceASecond(t *testing.T) {
	vault := newVault(t, newStore(t), "a")
	set(t, vault, secret("key", ""), "1")
	w := &watched{Vault: vault}
	now := start
	v := newValues(t, credential.ValuesOptions{Vault: w, Now: func() time.Time { return now }, Servers: map[string]credential.ServerValues{
		"s": {Default: "c", Credentials: map[string]credential.ValueSet{"c": {Headers: header("A", "${secret:key}")}}},
	}})
	value := func(want string) {
		t.Helper()
		if m := material(t, v, credential.Request{Server: "s", Holder: "ada"}); m.Headers[0].Value != want {
			t.Errorf("value %q, want %q", m.Headers[0].Value, want)
		}
	}
	for range 5 {
		value("1")
	}
	if w.reads != 2 { // the holder's own, which is not there, and the shared one
		t.Errorf("%d reads, want 2", w.reads)
	}
	set(t, vault, secret("key", "ada"), "2")
	now = now.Add(time.Second - 1)
	value("1")
	now = now.Add(1)
	value("2")
	if err := vault.Delete(t.Context(), secret("key", "ada")); err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Second)
	value("1")

	w.err = errors.New("away")
	value("1")
	now = now.Add(time.Second)
	if _, err := v.For(t.Context(), credential.Request{Server: "s", Holder: "ada"}); !errors.Is(err, w.err) {
		t.Errorf("the vault is away: %v", err)
	}
	w.err = nil
	now = start.Add(-time.Hour) // the clock was set back
	set(t, vault, secret("key", ""), "3")
	value("3")
	w.reads = 0
	value("3")
	if w.reads != 0 {
		t.Errorf("%d reads after the clock was set back, want none", w.reads)
	}
}

// halfAway can't read what holders have of their own.
type halfAway struct{ credential.Vault }

func (h halfAway) Get(ctx context.Context, k credential.Key) (credential.Entry, error) {
	if k.Holder != "" {
		return credential.Entry{}, errAway
	}
	return h.Vault.Get(ctx, k)
}

// Somebody with a secret of their own is never served with the shared one because
// theirs could not be read.
func TestASecretThatCannotBeReadIsNotReplacedByTheSharedOne(t *testing.T) {
	vault := newVault(t, newStore(t), "a")
	set(t, vault, secret("key", ""), "shared")
	v := newValues(t, credential.ValuesOptions{Vault: halfAway{vault}, Servers: map[string]credential.ServerValues{"s": {Headers: header("A", "${secret:key}")}}})
	m, err := v.For(t.Context(), credential.Request{Server: "s", Holder: "ada"})
	if !errors.Is(err, errAway) || len(m.Headers) > 0 {
		t.Errorf("%v, %v; want an error", m, err)
	}
}

func TestTheCacheOfSecretsIsBounded(t *testing.T) {
	vault := newVault(t, newStore(t), "a")
	set(t, vault, secret("key", ""), "1")
	w := &watched{Vault: absent{vault}}
	v := newValues(t, credential.ValuesOptions{Vault: w, Now: func() time.Time { return start }, Servers: map[string]credential.ServerValues{
		"s": {Default: "c", Credentials: map[string]credential.ValueSet{"c": {Headers: header("A", "${secret:key}")}}},
	}})
	for i := range credential.MaxCached + 10 {
		material(t, v, credential.Request{Server: "s", Holder: fmt.Sprint(i)})
	}
	if n := v.Cached(); n > credential.MaxCached {
		t.Errorf("%d secrets are cached, at most %d are to be", n, credential.MaxCached)
	}
}

// absent has no secrets of holders, which it need not look up.
type absent struct{ credential.Vault }

func (a absent) Get(ctx context.Context, k credential.Key) (credential.Entry, error) {
	if k.Holder != "" {
		return credential.Entry{}, credential.ErrNotFound
	}
	return a.Vault.Get(ctx, k)
}

func TestWhatAHeaderCannotCarryIsRefused(t *testing.T) {
	vault := newVault(t, newStore(t), "a")
	v := newValues(t, credential.ValuesOptions{Vault: vault, Servers: map[string]credential.ServerValues{"s": {Credentials: map[string]credential.ValueSet{
		"header": {Headers: header("A", "Bearer ${secret:header}")},
		"query":  {Query: header("A", "${secret:query}")},
		"env":    {Env: header("A", "${secret:env}")},
	}}}})
	const lines, zero = "c4n4ry\r\nX-Role: admin", "c4n4ry\x00"
	for what, c := range map[string]struct {
		name, value string
		good        bool
	}{
		"header":                         {"header", "sk_live ä\t1", true},
		"line break in a header":         {"header", lines, false},
		"zero byte in a header":          {"header", zero, false},
		"delete in a header":             {"header", "c4n4ry\x7f", false},
		"line break in a query":          {"query", lines, true},
		"line break in the environment":  {"env", lines, true},
		"zero byte in the environment":   {"env", zero, false},
		"what the configuration doesn't": {"unused", zero, true},
	} {
		err := v.Check(c.name, []byte(c.value))
		if (err == nil) != c.good || err != nil && strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s: %v", what, err)
		}
		if c.name == "unused" {
			continue
		}
		// It may have been set before the configuration used it there.
		set(t, vault, secret(c.name, what), c.value)
		_, err = v.For(t.Context(), credential.Request{Server: "s", Name: c.name, Holder: what})
		if (err == nil) != c.good || err != nil && strings.Contains(err.Error(), "c4n4ry") {
			t.Errorf("%s, set before: %v", what, err)
		}
	}
}

func TestReferencesThatNobodyCouldMean(t *testing.T) {
	vault := newVault(t, newStore(t), "a")
	for _, value := range []string{"${secret:}", "${secret:a", "x ${secret:a b}", "${secret:ä}", "${secret:-a}", "${secret:${secret:a}}", "${secret:" + strings.Repeat("a", 64) + "}"} {
		for what, s := range map[string]credential.ServerValues{
			"servers.s: headers.A":               {Headers: header("A", value)},
			"servers.s.credentials.c: headers.A": {Credentials: map[string]credential.ValueSet{"c": {Headers: header("A", value)}}},
			"servers.s.credentials.c: query.A":   {Credentials: map[string]credential.ValueSet{"c": {Query: header("A", value)}}},
			"servers.s.credentials.c: env.A":     {Credentials: map[string]credential.ValueSet{"c": {Env: header("A", value)}}},
		} {
			_, err := credential.NewValues(credential.ValuesOptions{Vault: vault, Servers: map[string]credential.ServerValues{"s": s}})
			if err == nil || !strings.HasPrefix(err.Error(), what) {
				t.Errorf("%s: %v; want an error that begins with %q", value, err, what)
			}
		}
	}
	refers := map[string]credential.ServerValues{"s": {Headers: header("A", "${secret:a}")}}
	if _, err := credential.NewValues(credential.ValuesOptions{Servers: refers}); err == nil {
		t.Error("a reference without a vault")
	}
	newValues(t, credential.ValuesOptions{Servers: map[string]credential.ServerValues{"s": {Headers: header("A", "plain")}}})
}

func TestI6_FormattingValuesShowsNone(t *testing.T) {
	const canary = "sk_live_c4n4ry"
	vault := newVault(t, newStore(t), "a")
	set(t, vault, secret("key", ""), canary)
	v := newValues(t, credential.ValuesOptions{Vault: vault, Servers: map[string]credential.ServerValues{"s": {
		Headers: header("A", canary+"1"), Default: "c",
		Credentials: map[string]credential.ValueSet{"c": {Headers: header("A", "${secret:key}2"), Query: header("Q", "${secret:key}3"), Env: header("E", "${secret:key}4")}},
	}}})
	m := material(t, v, credential.Request{Server: "s"})
	r := credential.Request{Server: "s", SubjectToken: canary}
	var out bytes.Buffer
	for _, x := range []any{v, m, &m, struct{ M credential.Material }{m}, r, &r, []credential.Request{r}} {
		fmt.Fprintf(&out, "%v %+v %#v %s %x\n", x, x, x, x, x)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "material", m, "values", v, "request", r)
	}
	for _, form := range []string{canary, fmt.Sprintf("%x", canary)} {
		if strings.Contains(out.String(), form) {
			t.Errorf("%s is shown in:\n%s", form, out.String())
		}
	}
}
