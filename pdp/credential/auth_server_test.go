package credential

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

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
	registers  time.Duration // how long that takes
	secrets    []string      // all that must never be seen
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
	time.Sleep(s.registers)
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
