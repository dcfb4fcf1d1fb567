package config

import (
	"errors"
	"fmt"
	"net"
	"strings"
)

// Person may sign in to the console.
type Person struct {
	// ID is whom rules name as approver, and who subjects are that act
	// themselves.
	ID     string   `yaml:"id"`
	Name   string   `yaml:"name"` // shown; default the id
	Groups []string `yaml:"groups"`
	// Role is "viewer" (looks), "approver" (the default: decides on approvals as
	// well) or "admin" (grants, servers, quotas and the playground as well).
	Role string `yaml:"role"`
}

// Console configures the web pages.
type Console struct {
	// URL under which people reach the console. Approval links and cookies go by
	// it. Default http://ADMIN.
	URL string `yaml:"url"`
	// Session is how long somebody stays signed in. Default 12h.
	Session Duration `yaml:"session"`
	// OIDC lets people sign in with their organisation's account, beside the
	// one-time links of `mcpermit console login`.
	OIDC OIDC `yaml:"oidc"`
}

// OIDC is an OpenID Connect provider for the console.
type OIDC struct {
	// Issuer is the provider's URL, the one in its discovery document.
	Issuer       string `yaml:"issuer"`
	ClientID     string `yaml:"client_id"`
	ClientSecret string `yaml:"client_secret"`
	// Scopes beside openid. Default profile and email.
	Scopes []string `yaml:"scopes"`
	// SubjectClaim is the claim that becomes the person's id. Default "sub".
	SubjectClaim string `yaml:"subject_claim"`
	// GroupsClaim is the claim that holds the person's groups. Default "groups".
	GroupsClaim string `yaml:"groups_claim"`
	// Roles are the groups whose members have a role; the highest counts.
	// Somebody in none of them may not sign in, unless People names the person.
	Roles map[string][]string `yaml:"roles"`
}

// Approvals says how calls wait for a person.
type Approvals struct {
	// Open is how long a call waits where its rule does not say. Default 1h.
	Open Duration `yaml:"open"`
	// Valid is how long an approval is good, once given, where the rule does not
	// say. Default 15m.
	Valid Duration `yaml:"valid"`
	// Webhooks are told when a call waits and when it is decided.
	Webhooks []Webhook `yaml:"webhooks"`
}

// Webhook is an address that is told of approvals.
type Webhook struct {
	URL string `yaml:"url"`
	// Secret signs each body (HMAC-SHA256, Standard Webhooks headers), so that
	// the receiver knows who sent it.
	Secret string `yaml:"secret"`
	// Format is "json" (the default) or "slack".
	Format string `yaml:"format"`
}

func (c *Config) checkPeople() error {
	seen := map[string]bool{}
	for i, p := range c.People {
		switch {
		case p.ID == "":
			return fmt.Errorf("people[%d].id: say who it is, by the id that rules and grants use", i)
		case strings.HasPrefix(p.ID, "group:"):
			return fmt.Errorf("people[%d].id: %q would be taken for a group", i, p.ID)
		case seen[strings.ToLower(p.ID)]:
			return fmt.Errorf("people[%d].id: %q is there twice; ids that differ in case only are the same person's", i, p.ID)
		}
		seen[strings.ToLower(p.ID)] = true
		if err := oneOf(fmt.Sprintf("people[%d].role", i), p.Role, roles...); err != nil {
			return err
		}
	}
	return nil
}

// roles are those of people, the weakest first.
var roles = []string{"viewer", "approver", "admin"}

// ConsoleURL is where people reach the console, without a slash at its end. One
// that listens on every address is at least on this machine.
func (c *Config) ConsoleURL() string {
	if c.Console.URL != "" {
		return strings.TrimSuffix(c.Console.URL, "/")
	}
	host, port, err := net.SplitHostPort(c.Admin)
	if ip := net.ParseIP(host); err == nil && (host == "" || ip.IsUnspecified()) {
		return "http://" + net.JoinHostPort("localhost", port)
	}
	return "http://" + c.Admin
}

func (c Console) check() error {
	if c.URL != "" {
		u, ok := httpURL(c.URL)
		if !ok || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return errors.New("console.url: want http(s)://host[:port] and nothing behind it")
		}
	}
	if c.OIDC.Issuer == "" {
		return nil
	}
	if c.OIDC.ClientID == "" {
		return errors.New("console.oidc.client_id: say as which client the console is registered there")
	}
	for role := range c.OIDC.Roles {
		if err := oneOf("console.oidc.roles", role, roles...); err != nil {
			return err
		}
	}
	return nil
}

func (a Approvals) check() error {
	for i, w := range a.Webhooks {
		if _, ok := httpURL(w.URL); !ok {
			return fmt.Errorf("approvals.webhooks[%d].url: want http(s)://host/path", i)
		}
		if err := oneOf(fmt.Sprintf("approvals.webhooks[%d].format", i), w.Format, "json", "slack"); err != nil {
			return err
		}
	}
	return nil
}
