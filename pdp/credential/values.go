package credential

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
)

// ValueSet is a credential that is made of values. In each, ${secret:NAME} stands
// for a secret of the vault: the holder's own, or else the one that all share.
type ValueSet struct {
	Headers []Header
	Query   []Header
	Env     []Header
	// PerSubject refuses to fall back to a secret that all share.
	PerSubject bool
}

// ServerValues are those of one server.
type ServerValues struct {
	// Headers go with every frame, beside those of a credential. ${secret:NAME} is as
	// in a ValueSet.
	Headers     []Header
	Credentials map[string]ValueSet
	// Default names the credential for a request that names none; "" is none.
	Default string
}

// ValuesOptions are what [Values] are made of.
type ValuesOptions struct {
	Servers map[string]ServerValues
	// Vault has the secrets; it may be nil where no value refers to one.
	Vault Vault
	Now   func() time.Time // default time.Now
}

// Values is a [Source] of what the configuration says. Secrets are at most a
// second old. It is safe for concurrent use.
type Values struct {
	servers map[string]serverTemplates
	secrets *secretCache
	use     map[string]use // by the name of a secret
}

type serverTemplates struct {
	always      templates
	credentials map[string]templates
	standard    string
}

// templates are a ValueSet, read.
type templates struct {
	headers, query, env []template
	perSubject          bool
}

// use is what a secret goes into.
type use struct{ header, env bool }

var _ Source = (*Values)(nil)

// NewValues returns the source. It is an error where a value refers to a secret
// that nobody can set, or to any without a vault.
func NewValues(o ValuesOptions) (*Values, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	v := &Values{servers: map[string]serverTemplates{}, secrets: newSecretCache(o.Vault, o.Now), use: map[string]use{}}
	for _, server := range slices.Sorted(maps.Keys(o.Servers)) {
		values := o.Servers[server]
		always, err := v.read(ValueSet{Headers: values.Headers})
		if err != nil {
			return nil, fmt.Errorf("servers.%s: %w", server, err)
		}
		s := serverTemplates{always: always, credentials: map[string]templates{}, standard: values.Default}
		for _, name := range slices.Sorted(maps.Keys(values.Credentials)) {
			if s.credentials[name], err = v.read(values.Credentials[name]); err != nil {
				return nil, fmt.Errorf("servers.%s.credentials.%s: %w", server, name, err)
			}
		}
		v.servers[server] = s
	}
	if o.Vault == nil && len(v.use) > 0 {
		return nil, errors.New("a value refers to ${secret:…}, and there is no vault")
	}
	return v, nil
}

func (v *Values) read(set ValueSet) (templates, error) {
	t := templates{perSubject: set.PerSubject}
	for _, part := range []struct {
		key    string
		values []Header
		into   *[]template
		use    use
	}{{"headers", set.Headers, &t.headers, use{header: true}}, {"query", set.Query, &t.query, use{}}, {"env", set.Env, &t.env, use{env: true}}} {
		for _, value := range part.values {
			read, err := parseTemplate(value)
			if err != nil {
				return templates{}, fmt.Errorf("%s.%s: %w", part.key, value.Name, err)
			}
			*part.into = append(*part.into, read)
			for _, name := range read.secrets() {
				u := v.use[name]
				v.use[name] = use{header: u.header || part.use.header, env: u.env || part.use.env}
			}
		}
	}
	return t, nil
}

// Check says why a value can't be that of a secret: where the configuration puts
// it into headers or the environment, they have to be able to carry it. The error
// does not show the value.
func (v *Values) Check(name string, value []byte) error {
	switch u := v.use[name]; {
	case u.header:
		return checkHeader(string(value))
	case u.env:
		return checkEnv(string(value))
	}
	return nil
}

func checkHeader(value string) error {
	if !httpguts.ValidHeaderFieldValue(value) {
		return errors.New("a header can't carry it: there is a line break or another control character in it")
	}
	return nil
}

func checkEnv(value string) error {
	if strings.Contains(value, "\x00") {
		return errors.New("the environment can't carry it: there is a zero byte in it")
	}
	return nil
}

// For implements [Source].
func (v *Values) For(ctx context.Context, r Request) (Material, error) {
	server := v.servers[r.Server]
	name := r.Name
	if name == "" {
		name = server.standard
	}
	set, known := server.credentials[name]
	if !known && name != "" {
		return Material{}, &UnknownError{Server: r.Server, Name: name}
	}
	m := Material{Name: name}
	for _, t := range []templates{server.always, set} {
		if err := v.fill(ctx, &m, t, r.Holder); err != nil {
			return Material{}, err
		}
	}
	return m, nil
}

// Renew implements [Source]: there is nothing here that could be renewed.
func (v *Values) Renew(ctx context.Context, r Request, _ int64) (Material, error) {
	return v.For(ctx, r)
}

func (v *Values) fill(ctx context.Context, m *Material, t templates, holder string) error {
	for _, part := range []struct {
		templates []template
		into      *[]Header
		check     func(string) error
	}{
		{t.headers, &m.Headers, checkHeader},
		{t.query, &m.Query, func(string) error { return nil }},
		{t.env, &m.Env, checkEnv},
	} {
		for _, template := range part.templates {
			value, own, err := template.fill(func(name string) (string, bool, error) {
				return v.secrets.get(ctx, name, holder, t.perSubject)
			})
			if err == nil {
				err = part.check(value)
			}
			if err != nil {
				return fmt.Errorf("the value of %s: %w", template.name, err)
			}
			if own {
				m.Holder = holder
			}
			*part.into = append(*part.into, Header{Name: template.name, Value: value})
		}
	}
	return nil
}

// String says nothing of what is inside.
func (v *Values) String() string { return "values of credentials" }

// GoString says nothing of what is inside.
func (v *Values) GoString() string { return v.String() }
