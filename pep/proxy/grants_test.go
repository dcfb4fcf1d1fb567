package proxy

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/timestamppb"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func (g *gateway) grant(t *testing.T, body string, header ...string) answer {
	t.Helper()
	r := g.request(http.MethodPost, body, header...)
	r.URL.Path = "/grants"
	return g.do(t, r)
}

func TestTheHolderOfAGrantMakesAWeakerOne(t *testing.T) {
	var asked *v1.DelegateGrantRequest
	expires := time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC)
	pdp := &fakePDP{delegate: func(r *v1.DelegateGrantRequest) *v1.DelegateGrantResponse {
		asked = r
		return &v1.DelegateGrantResponse{GrantId: "g2", Token: "mcpg_new", ExpiresAt: timestamppb.New(expires)}
	}}
	g := newGateway(t, newServer(t, tools).URL, pdp)
	got := g.grant(t, `{"subject":{"id":"sub","type":"agent","groups":["a"]},"servers":["s"],"tools":["get_*"],"classes":["read"],"policies":["p"],
		"labels":{"k":"v"},"not_before":"2027-01-01T00:00:00Z","expires_at":"2027-01-02T03:04:05Z","max_uses":3,"delegations":1}`)
	if got.Status != http.StatusCreated || got.Body != `{"id":"g2","token":"mcpg_new","expires_at":"2027-01-02T03:04:05Z"}`+"\n" {
		t.Errorf("%d %s", got.Status, got.Body)
	}
	if got.Header.Get("Cache-Control") != "no-store" || got.Header.Get("Content-Type") != "application/json" {
		t.Errorf("headers %v", got.Header)
	}
	asked.Evidence.Peer = ""
	want := &v1.DelegateGrantRequest{
		Evidence: &v1.Evidence{BearerToken: "alice"},
		Subject:  &v1.Subject{Id: "sub", Type: "agent", Groups: []string{"a"}},
		Servers:  []string{"s"}, Tools: []string{"get_*"}, Classes: []string{"read"}, Policies: []string{"p"}, Labels: map[string]string{"k": "v"},
		NotBefore: timestamppb.New(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)), ExpiresAt: timestamppb.New(expires), MaxUses: 3, Delegations: 1,
	}
	if diff := cmp.Diff(want, asked, protocmp.Transform()); diff != "" {
		t.Errorf("asked for (-want +got):\n%s", diff)
	}
	before := time.Now()
	g.grant(t, `{"subject":{"id":"sub"},"expires_in":900}`)
	if in := asked.GetExpiresAt().AsTime().Sub(before); in < 899*time.Second || in > 960*time.Second {
		t.Errorf("expires in %v", in)
	}
	if q := pdp.questions(); len(q) != 0 {
		t.Errorf("it was decided on as a frame: %q", q)
	}
}

func TestI1_AGrantThatIsNotMadeIsNoGrant(t *testing.T) {
	refusal := func(code v1.ReasonCode) func(*v1.DelegateGrantRequest) *v1.DelegateGrantResponse {
		return func(*v1.DelegateGrantRequest) *v1.DelegateGrantResponse {
			return &v1.DelegateGrantResponse{ReasonCode: code, Reason: "No.", GrantId: "g"}
		}
	}
	for _, c := range []struct {
		name     string
		delegate func(*v1.DelegateGrantRequest) *v1.DelegateGrantResponse
		status   int
		body     string
	}{
		{"revoked", refusal(v1.ReasonCode_REASON_CODE_REVOKED_TOKEN), 401, `{"error":"revoked_token","reason":"No."}`},
		{"not to be delegated", refusal(v1.ReasonCode_REASON_CODE_NOT_GRANTED), 403, `{"error":"not_granted","reason":"No."}`},
		{"wider", refusal(v1.ReasonCode_REASON_CODE_SERVER_NOT_GRANTED), 403, `{"error":"server_not_granted","reason":"No."}`},
		{"nonsense", refusal(v1.ReasonCode_REASON_CODE_INVALID_ARGUMENTS), 400, `{"error":"invalid_arguments","reason":"No."}`},
		{"used up", refusal(v1.ReasonCode_REASON_CODE_GRANT_USED_UP), 429, `{"error":"grant_used_up","reason":"No."}`},
		{"no reason", refusal(0), 503, `{"error":"policy_error","reason":"No."}`},
		{"an empty answer", func(*v1.DelegateGrantRequest) *v1.DelegateGrantResponse { return nil }, 503, `{"error":"pdp_unavailable","reason":"The decision point did not answer in time; try again."}`},
		{"away", nil, 503, `{"error":"pdp_unavailable","reason":"The decision point did not answer in time; try again."}`},
	} {
		g := newGateway(t, newServer(t, tools).URL, &fakePDP{delegate: c.delegate})
		got := g.grant(t, `{"subject":{"id":"sub"}}`)
		if got.Status != c.status || got.Body != c.body+"\n" || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %s", c.name, got.Status, got.Body)
		}
		if challenge := got.Header.Get("WWW-Authenticate"); (c.status == 401) != (challenge == "Bearer") {
			t.Errorf("%s: challenge %q", c.name, challenge)
		}
	}
}

func TestGrantRequestsAreReadStrictly(t *testing.T) {
	pdp := &fakePDP{delegate: func(*v1.DelegateGrantRequest) *v1.DelegateGrantResponse {
		return &v1.DelegateGrantResponse{GrantId: "g", Token: "mcpg_t"}
	}}
	g := newGateway(t, newServer(t, tools).URL, pdp, withOAuth)
	for _, c := range []struct {
		name, body string
		header     []string
		status     int
		reason     string
	}{
		{"unknown member", `{"subject":{"id":"a"},"owner":"me"}`, nil, 400, "owner"},
		{"another case", `{"Subject":{"id":"a"}}`, nil, 400, "Subject"},
		{"repeated member", `{"subject":{"id":"a"},"tools":["a"],"tools":[]}`, nil, 400, "duplicate"},
		{"two values", `{"subject":{"id":"a"}} {}`, nil, 400, ""},
		{"not UTF-8", "{\"subject\":{\"id\":\"\xff\"}}", nil, 400, "UTF-8"},
		{"no subject", `{}`, nil, 400, "subject.id"},
		{"nothing", ``, nil, 415, ""},
		{"both ends", `{"subject":{"id":"a"},"expires_in":1,"expires_at":"2027-01-02T03:04:05Z"}`, nil, 400, "not both"},
		{"in the past", `{"subject":{"id":"a"},"expires_in":-1}`, nil, 400, "expires_in"},
		{"for ever", `{"subject":{"id":"a"},"expires_in":9223372036854775807}`, nil, 400, "expires_in"},
		{"no uses", `{"subject":{"id":"a"},"max_uses":-1}`, nil, 400, "max_uses"},
		{"no levels", `{"subject":{"id":"a"},"delegations":-1}`, nil, 400, "delegations"},
		{"too many levels", `{"subject":{"id":"a"},"delegations":2147483648}`, nil, 400, "delegations"},
		{"too long", `{"subject":{"id":"` + strings.Repeat("a", 64<<10) + `"}}`, nil, 413, "limit"},
		{"another type", `{"subject":{"id":"a"}}`, []string{"Content-Type", "text/plain"}, 415, ""},
		{"another origin", `{"subject":{"id":"a"}}`, []string{"Origin", "https://evil.example"}, 403, ""},
	} {
		pdp.forget()
		header := append([]string{"Content-Type", "application/json"}, c.header...)
		if c.body == "" {
			header = []string{"Content-Type", "-"}
		}
		got := g.grant(t, c.body, header...)
		if got.Status != c.status || !strings.HasPrefix(got.Body, `{"error":"malformed","reason":"`) || !strings.Contains(got.Body, c.reason) {
			t.Errorf("%s: %d %s", c.name, got.Status, got.Body)
		}
		if pdp.last().GetFault() == nil { // I5
			t.Errorf("%s: not on record", c.name)
		}
	}
	// It is not where access tokens are shown, and nowhere else.
	for _, path := range []string{"/oauth/grants", "/grants/", "/grants?a=b", "/mcp/s/grants"} {
		r := g.request(http.MethodPost, `{"subject":{"id":"a"}}`)
		r.URL.Path, r.URL.RawQuery = cutQuery(path)
		if got := g.do(t, r); got.Status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, got.Status, got.Body)
		}
	}
	r := g.request(http.MethodGet, "")
	r.URL.Path = "/grants"
	if got := g.do(t, r); got.Status != http.StatusMethodNotAllowed || got.Header.Get("Allow") != "POST" {
		t.Errorf("GET: %d %v", got.Status, got.Header)
	}
}

func cutQuery(target string) (path, query string) {
	path, query, _ = strings.Cut(target, "?")
	return path, query
}
