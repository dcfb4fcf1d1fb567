// Package replicas holds that decision points over one database are one
// decision point to everybody else.
package replicas

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
	"github.com/mcpermit/mcpermit/test/databases"
	"github.com/mcpermit/mcpermit/test/gateway"
)

// want fails the test if the call becomes anything else.
func (r replica) want(t *testing.T, what, token, tool, arguments string, effect v1.Effect, code v1.ReasonCode) {
	t.Helper()
	if gotEffect, gotCode := r.call(t, token, tool, arguments); gotEffect != effect || gotCode != code {
		t.Errorf("%s: %s %s, want %s %s", what, gotEffect, gotCode, effect, code)
	}
}

const (
	allow, deny, hide, approve = v1.Effect_EFFECT_ALLOW, v1.Effect_EFFECT_DENY, v1.Effect_EFFECT_HIDE, v1.Effect_EFFECT_APPROVE

	byPolicy    = v1.ReasonCode_REASON_CODE_POLICY
	exceeded    = v1.ReasonCode_REASON_CODE_QUOTA_EXCEEDED
	unavailable = v1.ReasonCode_REASON_CODE_QUOTA_UNAVAILABLE
	waits       = v1.ReasonCode_REASON_CODE_APPROVAL_REQUIRED
	revoked     = v1.ReasonCode_REASON_CODE_REVOKED_TOKEN
)

func TestWhatOneReplicaKnowsAllDo(t *testing.T) {
	postgres, redis := databases.Postgres(t), databases.Redis(t)
	all := started(t, prepare(t, 3, postgres.Database(t), map[string]any{"counts": redis.URL()}))
	a, b, c := all[0], all[1], all[2]
	id, token := a.Grant(t, "ada", "up")

	a.want(t, "the first call", token, "spend", `{"amount":4}`, allow, byPolicy)
	b.want(t, "the second call", token, "spend", `{"amount":4}`, allow, byPolicy)
	a.want(t, "more than is left of the amount", token, "spend", `{"amount":4}`, deny, exceeded)
	c.want(t, "the third call", token, "spend", `{"amount":0.5}`, allow, byPolicy)
	a.want(t, "the fourth of three", token, "spend", `{"amount":0.5}`, deny, exceeded)

	a.want(t, "a call that needs a person", token, "ask", `{"x":1}`, approve, waits)
	b.want(t, "the same call", token, "ask", `{"x":1}`, approve, waits)
	var pending struct{ ID string }
	if err := json.Unmarshal(a.CLI(t, "approvals", "list", "-o", "json"), &pending); err != nil {
		t.Fatal(err)
	}
	b.CLI(t, "approvals", "approve", pending.ID)
	c.want(t, "approved", token, "ask", `{"x":1}`, allow, byPolicy)
	b.want(t, "used", token, "ask", `{"x":1}`, approve, waits)

	// What a replica remembers, it remembers for a moment.
	classes := filepath.Join(t.TempDir(), "classes.yaml")
	if err := os.WriteFile(classes, []byte("up: {spend: destructive}"), 0o600); err != nil {
		t.Fatal(err)
	}
	a.CLI(t, "servers", "classify", classes)
	b.becomes(t, "a tool that was classified", token, hide, byPolicy)
	b.CLI(t, "grants", "revoke", id)
	a.becomes(t, "a grant that was revoked", token, deny, revoked)
	c.becomes(t, "a grant that was revoked", token, deny, revoked)
}

// becomes waits until the call is refused so.
func (r replica) becomes(t *testing.T, what, token string, effect v1.Effect, code v1.ReasonCode) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		gotEffect, gotCode := r.call(t, token, "spend", `{"amount":0}`)
		if gotEffect == effect && gotCode == code {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s on one replica: the other says %s %s", what, gotEffect, gotCode)
		}
	}
}

// What the others need goes on while one of the stores is away, and nothing has
// to be done when it is back.
func TestStoresThatAreAway(t *testing.T) {
	postgres, redis := databases.Postgres(t), databases.Redis(t)
	redis.Kill(t)
	r := prepare(t, 1, postgres.Database(t), map[string]any{"counts": redis.URL()})[0]
	r.PDPUp(t)
	_, token := r.Grant(t, "ada", "up")
	const spend = `{"amount":1}`
	r.want(t, "Redis is away", token, "spend", spend, deny, unavailable)
	r.want(t, "a call without a quota", token, "ask", `{}`, approve, waits)
	redis.Start(t)
	r.want(t, "Redis is there", token, "spend", spend, allow, byPolicy)
	redis.Kill(t)
	r.want(t, "Redis is away again", token, "spend", spend, deny, unavailable)
	redis.Start(t)

	r.ready(t, http.StatusOK)
	postgres.Kill(t)
	if effect, _ := r.call(t, token, "spend", spend); effect == allow {
		t.Error("a call was allowed without the database that has the grants")
	}
	r.ready(t, http.StatusServiceUnavailable)
	postgres.Start(t)
	r.ready(t, http.StatusOK)
	r.want(t, "PostgreSQL is back", token, "spend", spend, allow, byPolicy)
}

func TestTheStateDirectoryIsOneProcessesOwn(t *testing.T) {
	postgres := databases.Postgres(t)
	r := prepare(t, 1, postgres.Database(t), nil)[0]
	r.PDPUp(t)
	out, err := exec.Command(gateway.Program(t, "mcpermit"), "pdp", "-c", r.ConfigFile).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "is in use by another mcpermit (process ") {
		t.Errorf("a second process on the same directory: %v\n%s", err, out)
	}
}

// A database that cannot be used is an error at the start, and says where it
// stands in the configuration.
func TestStartWithoutTheDatabase(t *testing.T) {
	postgres := databases.Postgres(t)
	url := postgres.Database(t)
	postgres.Kill(t)
	for _, c := range []struct {
		state any
		quota map[string]any
		want  string
	}{
		{url, nil, "state.database: "},
		{map[string]any{"database": url + "&sslmode=perhaps"}, nil, "state.database: "},
		{nil, map[string]any{"counts": "redis://h:port/0"}, "quota.counts: "},
		{nil, map[string]any{"amounts": "postgres://h:port/d"}, "quota.amounts: "},
	} {
		r := prepare(t, 1, c.state, c.quota)[0]
		p := gateway.Run(t, gateway.Program(t, "mcpermit"), "pdp", "-c", r.ConfigFile)
		if err := p.Wait(20 * time.Second); err == nil || !p.Exited() || !strings.Contains(p.Output(), c.want) {
			t.Errorf("%v: %v\n%s", c, err, p.Output())
		}
	}
}

// ready waits until /readyz answers with this status.
func (r replica) ready(t *testing.T, status int) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		res, err := http.Get(r.AdminURL + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil && res.StatusCode == status {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("/readyz: %d %s %v, want %d", res.StatusCode, text, err, status)
		}
	}
}
