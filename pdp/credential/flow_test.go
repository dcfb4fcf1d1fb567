package credential

import (
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// begin begins to connect ada's account, as the person.
func (r *replicas) begin(person string) (address string) {
	r.Helper()
	o, err := r.brokers[0].Offer(r.Context(), adas)
	r.must(err)
	address, err = r.brokers[0].Begin(r.Context(), adas, person, o.Terms())
	r.must(err)
	return address
}

// connects says why an answer does not connect, or nil.
func (b *Broker) connects(t *testing.T, person string, answer url.Values) error {
	a, err := b.Finish(t.Context(), person, answer)
	if err != nil {
		return err
	}
	return a.Connect(t.Context())
}

func TestAuthorizationRequest(t *testing.T) {
	r := newReplicas(t, 1, newAuthServer(t), accounts(Account{ClientID: "gateway", ClientSecret: "s3cret-of-gateway"}))
	u, err := url.Parse(r.begin("ada"))
	r.must(err)
	q := u.Query()
	state, challenge := q.Get("state"), q.Get("code_challenge")
	q.Del("state")
	q.Del("code_challenge")
	want := url.Values{
		"response_type": {"code"}, "client_id": {"gateway"}, "redirect_uri": {"https://console.example/oauth/callback"},
		"scope": {"tools:call"}, "resource": {theServer}, "code_challenge_method": {"S256"},
	}
	if diff := cmp.Diff(want, q); diff != "" {
		t.Errorf("request (-want +got):\n%s", diff)
	}
	if len(state) != 43 || len(challenge) != 43 {
		t.Errorf("state of %d, challenge of %d characters", len(state), len(challenge))
	}
	for k, e := range r.shelf.entries {
		if strings.Contains(k.Name, state) || e.ExpiresAt.IsZero() {
			t.Error("the state is in a key of the vault, or the entry does not expire")
		}
	}
	r.must(r.brokers[0].connects(t, "ada", r.auth.authorize(u.String())))
	got := r.auth.last()
	if got.Get("basic") != "gateway:s3cret-of-gateway" || got.Get("resource") != theServer || got.Get("redirect_uri") != "https://console.example/oauth/callback" || got.Get("code_verifier") == "" {
		t.Error("the code is redeemed in another way than it was asked for")
	}
	m, err := r.get(0)
	carries(t, m, err)
	list, err := r.brokers[0].Accounts(t.Context(), "ada")
	if err != nil || len(list) != 1 || list[0].AccountRef != adas || list[0].Since.IsZero() || list[0].ExpiresAt.IsZero() {
		t.Errorf("accounts %+v, %v", list, err)
	}
	if list, err := r.brokers[0].Accounts(t.Context(), "bob"); err != nil || len(list) != 0 {
		t.Errorf("bob's accounts %+v, %v", list, err)
	}
}

// Answers that connect nothing: each uses the flow up, so that there is one attempt.
func TestAnswersThatConnectNothing(t *testing.T) {
	for name, c := range map[string]struct {
		person string
		change func(url.Values)
		setup  func(*authServer)
		want   string
	}{
		"another person's":  {person: "mallory", want: "somebody else"},
		"another issuer's":  {change: func(q url.Values) { q.Set("iss", "https://evil.example") }, want: "not of the authorization server"},
		"no issuer's":       {change: func(q url.Values) { q.Del("iss") }, want: "not of the authorization server"},
		"an empty issuer's": {change: func(q url.Values) { q.Set("iss", "") }, want: "not of the authorization server"},
		"another's, though unasked": {
			setup:  func(s *authServer) { delete(s.metadata, "authorization_response_iss_parameter_supported") },
			change: func(q url.Values) { q.Set("iss", theIssuer+"/") }, want: "not of the authorization server",
		},
		"an error of another issuer": {change: func(q url.Values) { q.Set("iss", "https://evil.example"); q.Set("error", "x") }, want: "not of the authorization server"},
		"an error": {change: func(q url.Values) {
			q.Del("code")
			q.Set("error", "access_denied")
			q.Set("error_description", "<b>You</b> said no")
		}, want: "auth.example says: access_denied <b>You</b> said no."},
		"no code":       {change: func(q url.Values) { q.Del("code") }, want: "has no code"},
		"a wrong code":  {change: func(q url.Values) { q.Set("code", "guessed") }, want: "invalid_grant"},
		"two codes":     {change: func(q url.Values) { q.Add("code", "other") }, want: "in two ways"},
		"two states":    {change: func(q url.Values) { q.Add("state", "other") }, want: "in two ways"},
		"no state":      {change: func(q url.Values) { q.Del("state") }, want: "nothing that was begun"},
		"a wrong state": {change: func(q url.Values) { q.Set("state", "guessed") }, want: "nothing that was begun"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
			if c.setup != nil {
				c.setup(r.auth)
			}
			answer := r.auth.authorize(r.begin("ada"))
			good := url.Values{}
			for k, v := range answer {
				good[k] = slices.Clone(v)
			}
			if c.change != nil {
				c.change(answer)
			}
			person := c.person
			if person == "" {
				person = "ada"
			}
			if err := r.brokers[0].connects(t, person, answer); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("the error is %v", err)
			}
			if strings.Contains(c.want, "two ways") || strings.Contains(c.want, "begun") {
				return // which is nobody's flow
			}
			if err := r.brokers[0].connects(t, "ada", good); err == nil || !strings.Contains(err.Error(), "nothing that was begun") {
				t.Errorf("a second attempt: %v", err)
			}
			if list, _ := r.brokers[0].Accounts(t.Context(), ""); len(list) != 0 {
				t.Errorf("connected %v", list)
			}
		})
	}
}

// An issuer that says nothing of iss may leave it out.
func TestAnswerWithoutAnIssuer(t *testing.T) {
	r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
	delete(r.auth.metadata, "authorization_response_iss_parameter_supported")
	answer := r.auth.authorize(r.begin("ada"))
	answer.Del("iss")
	r.must(r.brokers[0].connects(t, "ada", answer))
}

// Of many who bring the same answer, one connects, and the code is redeemed once.
func TestAnswerIsGoodOnce(t *testing.T) {
	r := newReplicas(t, 3, newAuthServer(t), accounts(Account{}))
	answer := r.auth.authorize(r.begin("ada"))
	var connected atomic.Int32
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			if r.brokers[i%3].connects(t, "ada", answer) == nil {
				connected.Add(1)
			}
		})
	}
	wg.Wait()
	if n := r.auth.requests("authorization_code"); connected.Load() != 1 || n != 1 {
		t.Errorf("connected %d times with %d requests", connected.Load(), n)
	}
}

func TestFlowsExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
		answer := r.auth.authorize(r.begin("ada"))
		time.Sleep(flowLife)
		if err := r.brokers[0].connects(t, "ada", answer); err == nil || !strings.Contains(err.Error(), "ten minutes") {
			t.Errorf("the error is %v", err)
		}
	})
}

// A person goes to the authorization server that they have agreed to, and no other.
func TestTermsThatHaveChanged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
		o, err := r.brokers[0].Offer(t.Context(), adas)
		r.must(err)
		if want := (Offer{adas, theIssuer, "auth.example", theServer, []string{"tools:call"}}); !cmp.Equal(o, want) {
			t.Errorf("offered %+v", o)
		}
		r.auth.set(func() { r.auth.challenge = []string{`Bearer scope="tools:call admin"`} })
		time.Sleep(offerTime)
		if _, err := r.brokers[0].Begin(t.Context(), adas, "ada", o.Terms()); !errors.Is(err, ErrChanged) {
			t.Errorf("the error is %v", err)
		}
		bobs := adas
		bobs.Holder = "bob"
		if _, err := r.brokers[0].Begin(t.Context(), bobs, "ada", o.Terms()); !errors.Is(err, ErrChanged) {
			t.Errorf("for another holder: %v", err)
		}
	})
}

// An admin connects for an agent: the account is the agent's, the answer the admin's.
func TestConnectingForAnother(t *testing.T) {
	r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
	agents := AccountRef{"mcp", "own", "agent:refunds"}
	r.must(r.brokers[0].connectFor(t.Context(), r.auth, agents, "ada"))
	m, err := r.brokers[0].For(t.Context(), Request{Server: "mcp", Holder: "agent:refunds"})
	carries(t, m, err)
	_, err = r.get(0)
	needs(t, err)
}

func TestOffersOfNothing(t *testing.T) {
	g := gateway()
	r := newReplicas(t, 1, newAuthServer(t), Upstream{URL: theServer, Default: "own", Credentials: map[string]Brokered{"own": {Account: &Account{}}, "tokens": {ClientCredentials: &g}}})
	for _, a := range []AccountRef{{"mcp", "tokens", "ada"}, {"mcp", "x", "ada"}, {"x", "own", "ada"}} {
		var unknown *UnknownError
		if _, err := r.brokers[0].Offer(t.Context(), a); !errors.As(err, &unknown) {
			t.Errorf("%v: %v", a, err)
		}
		if _, err := r.brokers[0].Begin(t.Context(), a, "ada", ""); !errors.As(err, &unknown) {
			t.Errorf("%v: %v", a, err)
		}
	}
	if got := r.brokers[0].Connectable(); !cmp.Equal(got, []AccountRef{{Server: "mcp", Name: "own"}}) {
		t.Errorf("connectable %v", got)
	}
}

// A dynamic registration is done once, and again when it is of no use.
func TestRegistration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplicas(t, 3, newAuthServer(t), accounts(Account{}))
		r.auth.registers = 200 * time.Millisecond
		o, err := r.brokers[0].Offer(t.Context(), adas)
		r.must(err)
		var wg sync.WaitGroup
		for i := range 30 {
			wg.Go(func() {
				if _, err := r.brokers[i%3].Begin(t.Context(), adas, "ada", o.Terms()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if r.auth.registered != 1 {
			t.Errorf("registered %d times", r.auth.registered)
		}
		r.connect()
		time.Sleep(2 * time.Hour)
		m, err := r.get(1)
		carries(t, m, err) // refreshed with the registration's secret
		if got := r.auth.last().Get("basic"); !strings.HasPrefix(got, "dyn-1:cs-") {
			t.Error("not refreshed as the client that was registered")
		}
		// The authorization server has forgotten it: the next attempt fails, the one after
		// has another.
		r.auth.set(func() { delete(r.auth.clients, "dyn-1") })
		if err := r.brokers[0].connectFor(t.Context(), r.auth, adas, "ada"); !refused(err, "invalid_client") {
			t.Errorf("the error is %v", err)
		}
		r.connect()
		if r.auth.registered != 2 {
			t.Errorf("registered %d times", r.auth.registered)
		}
		// At another address of the console it is another client, beside this one.
		moved := newReplicas(t, 1, r.auth, accounts(Account{}), func(o *BrokerOptions) { o.ConsoleURL = "https://other.example" })
		moved.vaults[0].shelf = r.shelf
		moved.must(moved.brokers[0].connectFor(t.Context(), r.auth, adas, "ada"))
		r.connect()
		moved.must(moved.brokers[0].connectFor(t.Context(), r.auth, AccountRef{Server: "mcp", Name: "own", Holder: "bob"}, "bob"))
		if r.auth.registered != 3 {
			t.Errorf("registered %d times", r.auth.registered)
		}
		time.Sleep(2 * time.Hour)
		for _, b := range []*Broker{moved.brokers[0], r.brokers[1]} { // accounts of either are refreshed by both
			m, err := b.For(t.Context(), Request{Server: "mcp", Holder: "ada"})
			carries(t, m, err)
			m, err = b.Renew(t.Context(), Request{Server: "mcp", Holder: "bob"}, 1)
			carries(t, m, err)
			time.Sleep(2 * time.Hour)
		}
	})
}

// Where client documents are taken, nobody is registered.
func TestClientDocument(t *testing.T) {
	r := newReplicas(t, 1, newAuthServer(t), accounts(Account{}))
	r.auth.metadata["client_id_metadata_document_supported"] = true
	u, err := url.Parse(r.begin("ada"))
	if err != nil || u.Query().Get("client_id") != "https://console.example/oauth/client.json" || r.auth.registered != 0 {
		t.Errorf("client %q, registered %d times", u.Query().Get("client_id"), r.auth.registered)
	}
	text, ok := r.brokers[0].ClientDocument()
	var d map[string]any
	if err := json.Unmarshal(text, &d); err != nil || !ok {
		t.Fatal(err, ok)
	}
	want := map[string]any{
		"client_id": "https://console.example/oauth/client.json", "client_name": "MCPermit", "client_uri": "https://console.example",
		"redirect_uris": []any{"https://console.example/oauth/callback"}, "grant_types": []any{"authorization_code", "refresh_token"},
		"response_types": []any{"code"}, "token_endpoint_auth_method": "none",
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("document (-want +got):\n%s", diff)
	}
	r.auth.clients["https://console.example/oauth/client.json"] = ""
	r.must(r.brokers[0].connects(t, "ada", r.auth.authorize(u.String())))
	if got := r.auth.last(); got.Has("basic") || got.Has("client_secret") {
		t.Error("a client without a secret authenticates with one")
	}
	plain := newReplicas(t, 1, r.auth, accounts(Account{}), func(o *BrokerOptions) { o.ConsoleURL = "http://127.0.0.1:8701" })
	if _, ok := plain.brokers[0].ClientDocument(); ok {
		t.Error("a document under http")
	}
	if u, err := url.Parse(plain.begin("ada")); err != nil || u.Query().Get("client_id") != "dyn-1" {
		t.Errorf("client %q", u.Query().Get("client_id"))
	}
}

func TestConnectURL(t *testing.T) {
	for _, c := range [][5]string{
		{"https://console.example/", "mcp", "own", "", "https://console.example/connect/mcp/own"},
		{"https://console.example", "a/b", "c?d", "agent:x&y", "https://console.example/connect/a%2Fb/c%3Fd?holder=agent%3Ax%26y"},
		{"", "mcp", "own", "ada", ""},
	} {
		if got := ConnectURL(c[0], c[1], c[2], c[3]); got != c[4] {
			t.Errorf("%q, want %q", got, c[4])
		}
	}
}
