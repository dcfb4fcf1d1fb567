package credential

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// shelf is what the vaults of several replicas share.
type shelf struct {
	mu      sync.Mutex
	entries map[Key]Entry
	leases  map[Key]lease
}

type lease struct {
	generation int64
	by         string
	until      time.Time
}

func newShelf() *shelf { return &shelf{entries: map[Key]Entry{}, leases: map[Key]lease{}} }

// shelfVault is the vault of one replica. Its fault, if there is one, fails what it
// is asked to do.
type shelfVault struct {
	*shelf
	replica string
	fault   func(op string) error
}

func (v *shelfVault) begin(ctx context.Context, op string) error {
	if v.fault != nil {
		if err := v.fault(op); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (v *shelfVault) Get(ctx context.Context, k Key) (Entry, error) {
	if err := v.begin(ctx, "get"); err != nil {
		return Entry{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	e, ok := v.entries[k]
	if !ok {
		return Entry{}, ErrNotFound
	}
	return e, nil
}

func (v *shelfVault) Put(ctx context.Context, e Entry) error {
	if err := v.begin(ctx, "put"); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	before, ok := v.entries[e.Key]
	if ok && before.Generation != e.Generation-1 || !ok && e.Generation != 1 {
		return ErrConflict
	}
	e.CreatedAt, e.UpdatedAt = before.CreatedAt, time.Now()
	if !ok {
		e.CreatedAt = e.UpdatedAt
	}
	v.entries[e.Key] = e
	delete(v.leases, e.Key)
	return nil
}

func (v *shelfVault) Take(ctx context.Context, k Key) (Entry, error) {
	if err := v.begin(ctx, "take"); err != nil {
		return Entry{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	e, ok := v.entries[k]
	if !ok {
		return Entry{}, ErrNotFound
	}
	delete(v.entries, k)
	return e, nil
}

func (v *shelfVault) Lease(ctx context.Context, k Key, generation int64, d time.Duration) (bool, error) {
	if err := v.begin(ctx, "lease"); err != nil {
		return false, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if e, ok := v.entries[k]; !ok || e.Generation != generation {
		return false, nil
	}
	if l, ok := v.leases[k]; ok && l.by != v.replica && time.Now().Before(l.until) {
		return false, nil
	}
	v.leases[k] = lease{generation, v.replica, time.Now().Add(d)}
	return true, nil
}

func (v *shelfVault) Delete(ctx context.Context, k Key) error {
	_, err := v.Take(ctx, k)
	return err
}

// all is every value and key of the shelf.
func (s *shelf) list(_ context.Context, kind string) ([]Sealed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []Sealed
	for _, e := range s.entries {
		if e.Kind == kind {
			list = append(list, Sealed{Key: e.Key, Generation: e.Generation, CreatedAt: e.CreatedAt, UpdatedAt: e.UpdatedAt, ExpiresAt: e.ExpiresAt})
		}
	}
	slices.SortFunc(list, func(a, b Sealed) int {
		return strings.Compare(a.Name+"\x00"+a.Holder, b.Name+"\x00"+b.Holder)
	})
	return list, nil
}

// authServer is a small authorization server and the servers it protects. It hands
// out tokens that say what they are for, rotates refresh tokens, and sees a used one
// as stolen. Its fields change what it does; have mu for that.
type authServer struct {
	t      *testing.T
	issuer string
	mux    *http.ServeMux

	mu sync.Mutex
	// metadata and resource are what it says of itself and of the server.
	metadata map[string]any
	resource map[string]any
	// challenge is the server's WWW-Authenticate.
	challenge []string
	life      int // of access tokens, seconds
	// answer is asked before a token request is looked at: true says that it has been
	// answered. After is asked when tokens were made, before they are sent.
	answer func(w http.ResponseWriter, form url.Values) bool
	after  func(w http.ResponseWriter) bool
	extra  map[string]any // in token answers

	asked      []url.Values // the token requests, with client authentication
	clients    map[string]string
	codes      map[string]url.Values // authorization requests
	refresh    map[string]string     // family by token
	used       map[string]bool
	revoked    map[string]bool // families
	count      int
	registered int
	secrets    []string // all that must never be seen
	hits       map[string]int
}

const (
	theServer = "https://mcp.example/v1/mcp"
	theIssuer = "https://auth.example"
)

func newAuthServer(t *testing.T) *authServer {
	s := &authServer{
		t: t, issuer: theIssuer, mux: http.NewServeMux(), life: 3600,
		clients: map[string]string{"gateway": "s3cret-of-gateway"}, codes: map[string]url.Values{}, refresh: map[string]string{},
		used: map[string]bool{}, revoked: map[string]bool{}, hits: map[string]int{}, secrets: []string{"s3cret-of-gateway"},
	}
	s.metadata = map[string]any{
		"issuer": theIssuer, "authorization_endpoint": theIssuer + "/authorize", "token_endpoint": theIssuer + "/token",
		"registration_endpoint": theIssuer + "/register", "response_types_supported": []string{"code"},
		"code_challenge_methods_supported": []string{"plain", "S256"}, "authorization_response_iss_parameter_supported": true,
		"token_endpoint_auth_methods_supported": []string{"none", "client_secret_basic", "client_secret_post"},
	}
	s.resource = map[string]any{"resource": theServer, "authorization_servers": []string{theIssuer}, "scopes_supported": []string{"tools:read", "tools:write"}}
	s.challenge = []string{`Bearer resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/v1/mcp", scope="tools:call"`}
	s.mux.HandleFunc("mcp.example/v1/mcp", func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.challenge {
			w.Header().Add("WWW-Authenticate", c)
		}
		w.WriteHeader(http.StatusUnauthorized)
	})
	s.mux.HandleFunc("mcp.example/.well-known/oauth-protected-resource/v1/mcp", s.says(func() any { return s.resource }))
	s.mux.HandleFunc("auth.example/.well-known/oauth-authorization-server", s.says(func() any { return s.metadata }))
	s.mux.HandleFunc("POST auth.example/token", s.token)
	s.mux.HandleFunc("POST auth.example/register", s.register)
	return s
}

func (s *authServer) says(what func() any) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		s.mu.Lock()
		defer s.mu.Unlock()
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(what())
	}
}

// secret makes a value that must never be seen.
func (s *authServer) secret(kind string) string {
	s.count++
	v := fmt.Sprintf("%s-c4n4ry-%d", kind, s.count)
	s.secrets = append(s.secrets, v)
	return v
}

func (s *authServer) token(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	form := r.PostForm
	if id, secret, ok := r.BasicAuth(); ok {
		form.Set("basic", id+":"+secret)
		form.Set("client_id", id)
		form.Set("client_secret", secret)
	}
	s.mu.Lock()
	s.asked = append(s.asked, form)
	answer := s.answer
	s.mu.Unlock()
	if answer != nil && answer(w, form) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	refuse := func(code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusBadRequest)
		// It repeats what it was sent, which nobody may pass on.
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": form.Encode()})
	}
	if secret, known := s.clients[form.Get("client_id")]; form.Get("grant_type") != grantJWTBearer && (!known || secret != form.Get("client_secret")) {
		refuse("invalid_client")
		return
	}
	tokens := map[string]any{"token_type": "Bearer", "access_token": s.secret("at"), "expires_in": s.life}
	family := ""
	switch form.Get("grant_type") {
	case "authorization_code":
		began, ok := s.codes[form.Get("code")]
		delete(s.codes, form.Get("code"))
		sum := sha256.Sum256([]byte(form.Get("code_verifier")))
		if !ok || began.Get("code_challenge") != base64.RawURLEncoding.EncodeToString(sum[:]) || began.Get("redirect_uri") != form.Get("redirect_uri") || form.Get("resource") != began.Get("resource") {
			refuse("invalid_grant")
			return
		}
		s.secrets = append(s.secrets, form.Get("code_verifier"))
		family = form.Get("code")
	case "refresh_token":
		old := form.Get("refresh_token")
		family = s.refresh[old]
		if s.used[old] {
			s.revoked[family] = true
		}
		if family == "" || s.revoked[family] {
			refuse("invalid_grant")
			return
		}
		s.used[old] = true
	}
	if family != "" {
		fresh := s.secret("rt")
		s.refresh[fresh] = family
		tokens["refresh_token"] = fresh
	}
	maps.Copy(tokens, s.extra)
	if s.after != nil && s.after(w) {
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(tokens)
}

func (s *authServer) register(w http.ResponseWriter, r *http.Request) {
	var d map[string]any
	_ = json.NewDecoder(r.Body).Decode(&d)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.registered++
	id, secret := fmt.Sprintf("dyn-%d", s.registered), s.secret("cs")
	s.clients[id] = secret
	d["client_id"], d["client_secret"] = id, secret
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusCreated)
	_ = json.NewEncoder(w).Encode(d)
}

// authorize is a person who agrees: the callback's query.
func (s *authServer) authorize(address string) url.Values {
	s.t.Helper()
	u, err := url.Parse(address)
	if err != nil || !strings.HasPrefix(address, theIssuer+"/authorize?") {
		s.t.Fatalf("sent to %q: %v", address, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	code := s.secret("code")
	s.codes[code] = u.Query()
	return url.Values{"state": u.Query()["state"], "code": {code}, "iss": {theIssuer}}
}

// requests counts those of a grant type.
func (s *authServer) requests(grant string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, form := range s.asked {
		if form.Get("grant_type") == grant {
			n++
		}
	}
	return n
}

func (s *authServer) last() url.Values {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.asked) == 0 {
		s.t.Fatal("nobody has asked for a token")
	}
	return s.asked[len(s.asked)-1]
}

// set changes it.
func (s *authServer) set(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
}

// RoundTrip serves in this process, so that time may be the test's. What a handler
// does goes on when the request is given up, as it would elsewhere.
func (s *authServer) RoundTrip(r *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.hits[r.URL.Host+r.URL.Path]++
	s.mu.Unlock()
	in := httptest.NewRequest(r.Method, r.URL.String(), r.Body)
	in.Header = r.Header.Clone()
	w := httptest.NewRecorder()
	done := make(chan any, 1)
	go func() {
		defer func() { done <- recover() }()
		s.mux.ServeHTTP(w, in)
	}()
	select {
	case died := <-done:
		if died != nil {
			return nil, errors.New("connection reset by peer")
		}
	case <-r.Context().Done():
		return nil, r.Context().Err()
	}
	res := w.Result()
	res.Request = r
	return res, nil
}

// refusing is the client for what was discovered, where that must not be reached.
type refusing struct{}

func (refusing) RoundTrip(r *http.Request) (*http.Response, error) {
	return nil, fmt.Errorf("%s is not public", r.URL.Hostname())
}

// replicas are brokers over one vault.
type replicas struct {
	*testing.T
	auth    *authServer
	shelf   *shelf
	brokers []*Broker
	vaults  []*shelfVault
	log     *bytes.Buffer
}

// newReplicas makes n brokers of the upstream "mcp" and runs them.
func newReplicas(t *testing.T, n int, auth *authServer, u Upstream, change ...func(*BrokerOptions)) *replicas {
	t.Helper()
	r := &replicas{T: t, auth: auth, shelf: newShelf(), log: &bytes.Buffer{}}
	logs := slog.New(slog.NewTextHandler(&guarded{w: r.log}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	for i := range n {
		v := &shelfVault{shelf: r.shelf, replica: fmt.Sprint(i)}
		o := BrokerOptions{
			Servers: map[string]Upstream{"mcp": u}, ConsoleURL: "https://console.example", Vault: v, List: r.shelf.list,
			HTTP: &http.Client{Transport: auth}, Discovered: &http.Client{Transport: auth}, Log: logs,
		}
		for _, c := range change {
			c(&o)
		}
		b, err := NewBroker(o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ran := make(chan struct{})
		go func() {
			defer close(ran)
			b.Run(ctx)
		}()
		t.Cleanup(func() {
			cancel()
			<-ran
			b.Close()
		})
		r.brokers, r.vaults = append(r.brokers, b), append(r.vaults, v)
	}
	return r
}

// guarded is a writer for many.
type guarded struct {
	mu sync.Mutex
	w  io.Writer
}

func (g *guarded) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.w.Write(b)
}

// accounts is an upstream whose accounts are connected.
func accounts(a Account) Upstream {
	return Upstream{URL: theServer, Credentials: map[string]Brokered{"own": {Account: &a}}}
}

var adas = AccountRef{Server: "mcp", Name: "own", Holder: "ada"}

// connect connects the account of ada at the first broker.
func (r *replicas) connect() {
	r.Helper()
	r.must(r.brokers[0].connectFor(r.Context(), r.auth, adas, "ada"))
}

func (b *Broker) connectFor(ctx context.Context, s *authServer, a AccountRef, person string) error {
	o, err := b.Offer(ctx, a)
	if err != nil {
		return err
	}
	address, err := b.Begin(ctx, a, person, o.Terms())
	if err != nil {
		return err
	}
	authorized, err := b.Finish(ctx, person, s.authorize(address))
	if err != nil {
		return err
	}
	return authorized.Connect(ctx)
}

func (r *replicas) must(err error) {
	r.Helper()
	if err != nil {
		r.Fatal(err)
	}
}

// get is what ada's calls carry, by the replica.
func (r *replicas) get(replica int) (Material, error) {
	return r.brokers[replica].For(r.Context(), Request{Server: "mcp", Holder: "ada"})
}

// carries holds that a material carries a token, and returns it.
func carries(t *testing.T, m Material, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range m.Headers {
		if token, ok := strings.CutPrefix(h.Value, "Bearer "); ok && h.Name == "Authorization" && token != "" {
			return token
		}
	}
	t.Fatalf("no token among %d headers", len(m.Headers))
	return ""
}

// needs holds that an error asks for ada's account.
func needs(t *testing.T, err error) {
	t.Helper()
	var needed *AccountNeeded
	if !errors.As(err, &needed) || *needed != (AccountNeeded{Server: "mcp", Name: "own", Holder: "ada"}) {
		t.Errorf("the error is %v, want that ada's account is needed", err)
	}
}

// For and Renew make fixed headers a source.
func (v valuesOf) For(context.Context, Request) (Material, error) { return Material{Headers: v}, nil }

func (v valuesOf) Renew(context.Context, Request, int64) (Material, error) {
	return Material{Headers: v}, nil
}

func mustParse(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}
