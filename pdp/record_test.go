package pdp

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/mcpermit/mcpermit/pdp/audit"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/identity"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// taggedInput is the replay input as struct tags describe it.
type taggedInput struct {
	Subject taggedSubject `json:"subject,omitempty"`
	Grant   *taggedGrant  `json:"grant"`
	Server  Server        `json:"server,omitzero"`
	Tool    *taggedTool   `json:"tool,omitzero"`
}

type taggedSubject struct {
	Groups []string       `json:"groups,omitempty"`
	Scopes []string       `json:"scopes,omitempty"`
	Claims jsontext.Value `json:"claims,omitzero"`
}

type taggedGrant struct {
	Labels    map[string]string `json:"labels,omitempty"`
	Servers   []string          `json:"servers"`
	Tools     []string          `json:"tools,omitempty"`
	Classes   []string          `json:"classes,omitempty"`
	Policies  []string          `json:"policies,omitempty"`
	Parent    string            `json:"parent,omitempty"`
	ExpiresAt time.Time         `json:"expires_at,omitzero"`
}

type taggedTool struct {
	Traits      []string       `json:"traits,omitempty"`
	Annotations jsontext.Value `json:"annotations,omitzero"`
}

// The replay input is, byte by byte, what its tags say, and nothing where that
// cannot be written.
func TestI12_ReplayInput(t *testing.T) {
	text := rapid.OneOf(rapid.StringMatching(`[a-z*]{0,8}`), rapid.String(), rapid.SampledFrom([]string{"\uffff", "\U00010000", "\"\\\n", "<&>", "\xff"}))
	list := rapid.OneOf(rapid.Just([]string(nil)), rapid.SliceOfN(text, 0, 3))
	labels := rapid.OneOf(rapid.Just(map[string]string(nil)), rapid.MapOfN(text, text, 0, 4))
	expiry := rapid.SampledFrom([]time.Time{
		{}, time.Unix(1800000000, 0).UTC(), time.Unix(1800000000, 5000).In(time.FixedZone("", -7200)), time.Unix(1<<40, 0).UTC(),
	})
	annotations := rapid.SampledFrom([]string{"", "{}", ` {"title" : "A\u0062\/ c", "n": [1.0, 2]} `, `{"a":1,"a":2}`, `{"a":`, "null", "\"\xff\""})
	written := 0
	rapid.Check(t, func(rt *rapid.T) {
		var want taggedInput
		s := &want.Subject
		s.Scopes = list.Draw(rt, "scopes")
		if rapid.Bool().Draw(rt, "claimed") {
			s.Claims = []byte(annotations.Draw(rt, "claims"))
		}
		groups := list.Draw(rt, "groups")
		if rapid.Bool().Draw(rt, "in many groups") {
			groups = append(slices.Repeat([]string{"g"}, groupsOnRecord), groups...)
		}
		if len(groups) > groupsOnRecord {
			s.Groups = groups
		}
		who := &identity.Identity{Subject: identity.Subject{Groups: groups, Scopes: s.Scopes, Claims: s.Claims}}
		if rapid.Bool().Draw(rt, "granted") {
			g := &taggedGrant{
				Labels: labels.Draw(rt, "labels"), Servers: list.Draw(rt, "servers"), Tools: list.Draw(rt, "tools"), Classes: list.Draw(rt, "classes"),
				Policies: list.Draw(rt, "policies"), Parent: text.Draw(rt, "parent"), ExpiresAt: expiry.Draw(rt, "expiry"),
			}
			above := list.Draw(rt, "policies above")
			who.Grant = &identity.Grant{Labels: g.Labels, Servers: g.Servers, Tools: g.Tools, Classes: g.Classes, Policies: g.Policies, Parent: g.Parent, ExpiresAt: g.ExpiresAt}
			who.Above = []*identity.Grant{{Policies: above}}
			g.Policies = slices.Compact(slices.Sorted(slices.Values(slices.Concat(g.Policies, above))))
			want.Grant = g
		}
		want.Server = Server{labels.Draw(rt, "server labels"), rapid.Bool().Draw(rt, "trusted")}
		d := &decision{req: &v1.DecideRequest{Server: "s"}, who: who}
		if rapid.Bool().Draw(rt, "tool") {
			want.Tool = &taggedTool{Traits: list.Draw(rt, "traits")}
			if rapid.Bool().Draw(rt, "annotated") {
				want.Tool.Annotations = []byte(annotations.Draw(rt, "annotations"))
			}
			d.tool = &catalog.Tool{Traits: want.Tool.Traits, Annotations: want.Tool.Annotations}
		}
		b, err := json.Marshal(want, json.Deterministic(true))
		if err != nil {
			b = nil
		} else {
			written++
		}
		e := &Engine{Parts: Parts{Servers: map[string]Server{"s": want.Server}}}
		if got := e.replayInput(d); string(got) != string(b) || (got == nil) != (b == nil) {
			rt.Fatalf("wrote\n%s\nwant\n%s, %v", got, b, err)
		}
	})
	if written == 0 {
		t.Error("nothing was written")
	}
}

// What comes back from a record is what the policy saw of subject, grant, server and
// tool.
func TestI12_TheRecordSaysAllThatThePolicySaw(t *testing.T) {
	text := rapid.StringMatching(`[a-z*]{1,8}`)
	list := rapid.OneOf(rapid.Just([]string(nil)), rapid.SliceOfN(text, 1, 3))
	maybe := rapid.OneOf(rapid.Just(""), text)
	rapid.Check(t, func(rt *rapid.T) {
		e := &Engine{Parts: Parts{Servers: map[string]Server{"s": {Trusted: true}}}}
		who := &identity.Identity{Subject: identity.Subject{
			ID: text.Draw(rt, "subject"), Type: "person", Groups: list.Draw(rt, "groups"), Issuer: maybe.Draw(rt, "issuer"),
			Actor: maybe.Draw(rt, "actor"), Scopes: list.Draw(rt, "scopes"), Claims: rapid.SampledFrom([]jsontext.Value{nil, []byte(`{"n":1.50}`)}).Draw(rt, "claims"),
		}}
		for range rapid.IntRange(0, 3).Draw(rt, "chain") {
			g := &identity.Grant{ID: text.Draw(rt, "id"), Servers: list.Draw(rt, "servers"), Classes: list.Draw(rt, "classes"), Policies: list.Draw(rt, "policies")}
			if who.Grant == nil {
				who.Grant = g
				continue
			}
			last := who.Grant
			if n := len(who.Above); n > 0 {
				last = who.Above[n-1]
			}
			last.Parent, who.Above = g.ID, append(who.Above, g)
		}
		d := &decision{
			req: &v1.DecideRequest{Server: "s", Method: "tools/list", Id: "1"}, res: &v1.DecideResponse{DecisionId: "d", GrantId: who.GrantID()},
			who: who, subject: &who.Subject, maskKnown: true, start: time.Unix(1800000000, 0).UTC(),
		}
		b, err := e.auditRecord(t.Context(), d).JSON()
		if err != nil {
			rt.Fatal(err)
		}
		r, err := audit.ParseRecord(b)
		if err != nil {
			rt.Fatal(err)
		}
		got, err := InputOf(r)
		if err != nil {
			rt.Fatal(err)
		}
		if diff := cmp.Diff(e.input(d), got, cmpopts.EquateEmpty()); diff != "" {
			rt.Fatalf("seen (-) and read from the record (+):\n%s", diff)
		}
		if diff := cmp.Diff(who.Chain(), r.Chain, cmpopts.EquateEmpty()); diff != "" {
			rt.Fatalf("chain:\n%s", diff)
		}
	})
}

// The record's words are the API's names in lower case, and numbers where this
// version knows no name.
func TestRecordWords(t *testing.T) {
	for n := range int32(len(v1.ReasonCode_name) + 3) {
		for _, c := range []struct{ got, name, prefix string }{
			{kinds.of(n), v1.FrameKind(n).String(), "FRAME_KIND_"},
			{effects.of(n), v1.Effect(n).String(), "EFFECT_"},
			{reasonCodes.of(n), v1.ReasonCode(n).String(), "REASON_CODE_"},
		} {
			if want := strings.ToLower(strings.TrimPrefix(c.name, c.prefix)); c.got != want {
				t.Errorf("%s%d: %q, want %q", c.prefix, n, c.got, want)
			}
		}
	}
}

func BenchmarkReplayInput(b *testing.B) {
	e := &Engine{Parts: Parts{Servers: map[string]Server{"stripe": {Labels: map[string]string{"tier": "gold"}, Trusted: true}}}}
	d := &decision{
		req:  &v1.DecideRequest{Server: "stripe"},
		who:  &identity.Identity{Grant: &identity.Grant{Labels: map[string]string{"env": "prod", "team": "payments"}, Servers: []string{"stripe"}, ExpiresAt: time.Unix(1800000000, 0).UTC()}},
		tool: &catalog.Tool{Traits: []string{"destructive"}, Annotations: []byte(`{"title":"Create refund","destructiveHint":true}`)},
	}
	b.ReportAllocs()
	for b.Loop() {
		e.replayInput(d)
	}
}
