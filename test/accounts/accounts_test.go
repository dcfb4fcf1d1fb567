// Package accounts holds the brokered accounts of upstream servers against real parts:
// an MCP server of the Go SDK that takes access tokens, and the authorization server
// that it names.
package accounts

import (
	"encoding/json"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/credential"
)

func veras() credential.Request { return credential.Request{Server: "protected", Holder: "vera"} }

// TestAuthorizationCode: from a server that says 401 to one that knows whose account
// it is, by discovery, registration, consent, and PKCE; then renewal with rotation.
func TestAuthorizationCode(t *testing.T) {
	s := newSite(t)
	_, err := s.brokers[0].For(t.Context(), veras())
	needed := (*credential.AccountNeeded)(nil)
	if !errors.As(err, &needed) {
		t.Fatalf("before anything is connected: %v", err)
	}
	p := s.as("vera")
	p.open(credential.ConnectURL(s.url, needed.Server, needed.Name, needed.Holder))
	host := strings.TrimPrefix(s.provider.Issuer, "http://")
	p.shows("Connect an account of protected?", "<b>"+host+"</b>", "<code>"+theScope+"</code>", "<code>offline_access</code>")
	p.submit("/connect/protected/own", nil)
	if p.at.Host != host {
		t.Fatalf("sent to %s", p.at)
	}
	p.agree("vera-at-the-provider")
	p.shows("Connected. Calls carry the account from now on.", "1 account is connected")

	m, err := s.brokers[1].For(t.Context(), veras())
	if err != nil {
		t.Fatal(err)
	}
	if who, err := s.server.whoami(t, m); err != nil || who != "vera-at-the-provider" {
		t.Errorf("the server says %q, %v", who, err)
	}
	if _, err := s.brokers[2].For(t.Context(), credential.Request{Server: "protected", Holder: "ada"}); !errors.As(err, &needed) {
		t.Errorf("somebody else: %v", err)
	}

	// The server takes the token no more: one refresh for all who find that out.
	s.server.refuse(m)
	if _, err := s.server.whoami(t, m); err == nil {
		t.Fatal("the server takes a token that it refuses")
	}
	var wg sync.WaitGroup
	for i := range 60 {
		wg.Go(func() {
			n, err := s.brokers[i%3].Renew(t.Context(), veras(), m.Generation)
			if err != nil || n.Generation != m.Generation+1 {
				t.Errorf("generation %d: %v", n.Generation, err)
			}
		})
	}
	wg.Wait()
	s.provider.Grants(t, "refresh_token", 1)
	s.provider.Grants(t, "authorization_code", 1)
	if m, err = s.brokers[2].For(t.Context(), veras()); err != nil {
		t.Fatal(err)
	}
	if who, err := s.server.whoami(t, m); err != nil || who != "vera-at-the-provider" {
		t.Errorf("after the renewal the server says %q, %v", who, err)
	}

	p.submit("/accounts/disconnect", nil)
	p.shows("No account is connected.")
	if _, err := s.brokers[0].For(t.Context(), veras()); !errors.As(err, &needed) {
		t.Errorf("after disconnecting: %v", err)
	}
	var acts []string
	if err := s.trail.Trail().Acts(t.Context(), audit.ActFilter{}, 0, func(a *audit.Act) error {
		acts = append(acts, a.Person+" "+a.Act+" "+a.Target+": "+a.Result)
		return nil
	}); err != nil || strings.Join(acts, "; ") != "vera connect-account protected/own of vera: taken; vera disconnect-account protected/own of vera: taken" {
		t.Errorf("on record: %q, %v", acts, err)
	}
}

// TestRefreshTokenThatWasUsed: two replicas without a common vault are two holders of
// one refresh token, which the provider takes for theft. The account has to be
// connected again, and is asked for once.
func TestRefreshTokenThatWasUsed(t *testing.T) {
	s := newSite(t)
	p := s.as("vera")
	p.open(s.url + "/connect/protected/own")
	p.submit("/connect/protected/own", nil)
	p.agree("vera")
	key := credential.Key{Kind: credential.KindAccount, Name: "protected/own", Holder: "vera"}
	before, err := s.shelf.Vault("backup").Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	m, err := s.brokers[0].For(t.Context(), veras())
	if err != nil {
		t.Fatal(err)
	}
	if m, err = s.brokers[0].Renew(t.Context(), veras(), m.Generation); err != nil {
		t.Fatal(err)
	}
	before.Generation = m.Generation
	s.shelf.Set(before) // a backup is put back
	for range 3 {
		_, err = s.brokers[1].Renew(t.Context(), veras(), m.Generation)
		if needed := (*credential.AccountNeeded)(nil); !errors.As(err, &needed) {
			t.Fatalf("the error is %v", err)
		}
	}
	p.open(s.url + "/connect/protected/own")
	p.submit("/connect/protected/own", nil)
	p.agree("vera") // the provider asks again, as the scopes want
	p.shows("Connected. Calls carry the account from now on.")
	if m, err = s.brokers[1].For(t.Context(), veras()); err != nil {
		t.Fatal(err)
	}
	if who, err := s.server.whoami(t, m); err != nil || who != "vera" {
		t.Errorf("the server says %q, %v", who, err)
	}
}

// TestPersonWhoRefuses at the provider comes back to words, and to nothing connected.
func TestPersonWhoRefuses(t *testing.T) {
	s := newSite(t)
	p := s.as("vera")
	p.open(s.url + "/connect/protected/own")
	p.submit("/connect/protected/own", nil)
	_, abort, ok := strings.Cut(p.page, `href="`)
	for ok && !strings.Contains(strings.SplitN(abort, `"`, 2)[0], "/abort") {
		_, abort, ok = strings.Cut(abort, `href="`)
	}
	u, err := p.at.Parse(strings.SplitN(abort, `"`, 2)[0])
	if !ok || err != nil {
		t.Fatalf("no way to refuse: %s", p.page)
	}
	p.open(u.String())
	p.shows("says: access_denied")
	p.open(s.url + "/accounts")
	p.shows("No account is connected.")
}

// TestI6_NoSecretOfAnAccountIsShown in a page, an address of ours, the log or the
// trail, of real tokens.
func TestI6_NoSecretOfAnAccountIsShown(t *testing.T) {
	s := newSite(t)
	p := s.as("vera")
	p.open(s.url + "/connect/protected/own")
	p.submit("/connect/protected/own", nil)
	p.agree("vera")
	p.open(s.url + "/connect/protected/own")
	p.open(s.url + "/decisions")
	m, err := s.brokers[0].For(t.Context(), veras())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.brokers[0].Renew(t.Context(), veras(), m.Generation); err != nil {
		t.Fatal(err)
	}
	shown := p.seen.String() + s.log.String()
	if err := s.trail.Trail().Acts(t.Context(), audit.ActFilter{}, 0, func(a *audit.Act) error {
		line, err := a.JSON()
		shown += string(line)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	secrets := 0
	for _, e := range s.shelf.Entries() {
		var members map[string]any
		if err := json.Unmarshal(e.Value, &members); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"access_token", "refresh_token", "client_secret"} {
			if secret, ok := members[name].(string); ok && secret != "" {
				secrets++
				if strings.Contains(shown, secret) || strings.Contains(shown, url.QueryEscape(secret)) {
					t.Errorf("%s is shown", name)
				}
			}
		}
	}
	if secrets < 3 {
		t.Errorf("only %d secrets were made", secrets)
	}
}
