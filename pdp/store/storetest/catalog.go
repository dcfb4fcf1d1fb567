package storetest

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/identity"
)

func listed(server, name, definition string) catalog.Listed {
	return catalog.Listed{Server: server, Name: name, Digest: sha256.Sum256([]byte(definition)), Definition: []byte(definition)}
}

func pin(server, name, definition string) catalog.Pin {
	return catalog.Pin{
		Server: server, Name: name, Digest: sha256.Sum256([]byte(definition)), Definition: []byte(definition), At: start,
	}
}

// do fails the test on the first error.
func do(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func catalogIsEmptyAtFirst(t *testing.T, open Database) {
	s := opened(t, open)
	equal(t, "catalog", must[catalog.Stored](t)(s.Catalog(t.Context())), catalog.Stored{})
}

func catalogRoundTrip(t *testing.T, open Database) {
	s := opened(t, open)
	want := catalog.Stored{
		ListedAt:  map[string]time.Time{"a": start, "b": start.Add(time.Second), "empty": start},
		Listed:    []catalog.Listed{listed("a", "x", `{"name":"x"}`), listed("a", "y", `{}`), listed("b", "x", `{"other":1}`)},
		Pins:      []catalog.Pin{pin("a", "x", "old"), pin("b", "gone", "…")},
		Overrides: []catalog.Classification{{Server: "a", Tool: "x", Class: "read"}, {Server: "b", Tool: "x", Class: "admin", Traits: []string{"mine", "takes-url"}}},
	}
	do(t,
		s.SaveListing(t.Context(), "a", start, want.Listed[:2], nil),
		s.SaveListing(t.Context(), "b", start.Add(time.Second), want.Listed[2:], nil),
		s.SaveListing(t.Context(), "empty", start, nil, nil),
		s.SavePins(t.Context(), want.Pins),
		s.SaveOverrides(t.Context(), want.Overrides),
	)
	equal(t, "catalog", must[catalog.Stored](t)(s.Catalog(t.Context())), want)
}

func catalogReplacesAndRemoves(t *testing.T, open Database) {
	s := opened(t, open)
	do(t,
		s.SaveListing(t.Context(), "a", start, []catalog.Listed{listed("a", "x", "1"), listed("a", "y", "1"), listed("a", "z", "1")}, nil),
		s.SaveListing(t.Context(), "b", start, []catalog.Listed{listed("b", "y", "1")}, nil),
		s.SavePins(t.Context(), []catalog.Pin{pin("a", "x", "1"), pin("a", "y", "1")}),
		s.SaveOverrides(t.Context(), []catalog.Classification{{Server: "a", Tool: "x", Class: "read", Traits: []string{"t"}}, {Server: "a", Tool: "y", Class: "write"}}),

		s.SaveListing(t.Context(), "a", start.Add(time.Hour), []catalog.Listed{listed("a", "x", "2")}, []string{"y", "never-there"}),
		s.SavePins(t.Context(), []catalog.Pin{pin("a", "x", "2")}),
		s.SaveOverrides(t.Context(), []catalog.Classification{{Server: "a", Tool: "x", Class: "admin"}, {Server: "a", Tool: "y"}, {Server: "a", Tool: "z"}}),
	)
	equal(t, "catalog", must[catalog.Stored](t)(s.Catalog(t.Context())), catalog.Stored{
		ListedAt:  map[string]time.Time{"a": start.Add(time.Hour), "b": start},
		Listed:    []catalog.Listed{listed("a", "x", "2"), listed("a", "z", "1"), listed("b", "y", "1")},
		Pins:      []catalog.Pin{pin("a", "x", "2"), pin("a", "y", "1")},
		Overrides: []catalog.Classification{{Server: "a", Tool: "x", Class: "admin"}},
	})
}

// catalogWritesAllOrNothing gives the second of two entries no definition,
// which every store refuses.
func catalogWritesAllOrNothing(t *testing.T, open Database) {
	s := opened(t, open)
	broken := listed("a", "y", "1")
	broken.Definition = nil
	if err := s.SaveListing(t.Context(), "a", start, []catalog.Listed{listed("a", "x", "1"), broken}, nil); err == nil {
		t.Error("a tool without a definition was stored")
	}
	brokenPin := pin("a", "y", "1")
	brokenPin.Definition = nil
	if err := s.SavePins(t.Context(), []catalog.Pin{pin("a", "x", "1"), brokenPin}); err == nil {
		t.Error("a pin without a definition was stored")
	}
	equal(t, "catalog", must[catalog.Stored](t)(s.Catalog(t.Context())), catalog.Stored{})
}

func writesSurviveReopening(t *testing.T, open Database) {
	s := open(t)
	g, a := grant("g"), call("a", "refund")
	do(t,
		s.InsertGrant(t.Context(), g),
		s.SaveListing(t.Context(), "a", start, []catalog.Listed{listed("a", "x", "1")}, nil),
		s.SavePins(t.Context(), []catalog.Pin{pin("a", "x", "1")}),
		s.SaveOverrides(t.Context(), []catalog.Classification{{Server: "a", Tool: "x", Class: "read"}}),
	)
	must[approval.Approval](t)(s.OpenApproval(t.Context(), a, plenty))
	g.RevokedAt = start
	must[identity.Grant](t)(s.RevokeGrant(t.Context(), "g", start))
	before := must[catalog.Stored](t)(s.Catalog(t.Context()))
	do(t, s.Close())

	s = opened(t, open)
	equal(t, "grant", must[identity.Record](t)(s.Grant(t.Context(), "g")), g)
	equal(t, "approval", must[approval.Approval](t)(s.Approval(t.Context(), "a")), a)
	equal(t, "catalog", must[catalog.Stored](t)(s.Catalog(t.Context())), before)
}

// endedContextIsAnError also holds that what was refused was not stored.
func endedContextIsAnError(t *testing.T, open Database) {
	s := opened(t, open)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Grant(ctx, "g"); err == nil || errors.Is(err, identity.ErrNotFound) {
		t.Errorf("Grant: %v; want an error that is not ErrNotFound", err)
	}
	if err := s.InsertGrant(ctx, grant("g")); err == nil {
		t.Error("InsertGrant: no error")
	}
	if _, err := s.OpenApproval(ctx, call("a", "x"), plenty); err == nil {
		t.Error("OpenApproval: no error")
	}
	if _, err := s.Grant(t.Context(), "g"); !errors.Is(err, identity.ErrNotFound) {
		t.Errorf("the grant was stored all the same: %v", err)
	}
}
