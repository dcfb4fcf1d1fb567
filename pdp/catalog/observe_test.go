package catalog

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// names returns the listed tools of a server.
func names(t *testing.T, c *Catalog, server string) []string {
	t.Helper()
	entries, err := c.Tools(server)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if e.Listed {
			list = append(list, e.Name)
		}
	}
	return list
}

func TestObservePagesAndWholeListings(t *testing.T) {
	m := &memory{}
	c := newCatalog(t, m)
	check := func(want ...string) {
		t.Helper()
		for _, cat := range []*Catalog{c, newCatalog(t, m)} {
			if diff := cmp.Diff(want, names(t, cat, "plain")); diff != "" {
				t.Errorf("listed (-want +got):\n%s", diff)
			}
		}
	}
	check()
	observe(t, c, "plain", false, tool("a", ""))
	check("a")
	observe(t, c, "plain", false, tool("b", ""))
	check("a", "b")
	observe(t, c, "plain", true, tool("b", ""), tool("c", ""))
	check("b", "c")
	observe(t, c, "plain", true)
	check()
	if got := names(t, c, "trusted"); got != nil {
		t.Errorf("another server: %q", got)
	}
}

func TestAListingWithoutNewsIsNotStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		c := newCatalog(t, m)
		listing := []Definition{tool("a", ""), tool("b", `{"readOnlyHint":true}`)}
		for range 1000 {
			observe(t, c, "plain", true, listing...)
		}
		if m.writes != 1 {
			t.Errorf("%d writes, want 1", m.writes)
		}
		// What is not pinned is no news either.
		other := tool("a", "")
		other.Raw = []byte(strings.Replace(string(other.Raw), "{", `{"_meta":{},`, 1))
		observe(t, c, "plain", false, other)
		if m.writes != 1 {
			t.Errorf("%d writes, want 1", m.writes)
		}
		time.Sleep(time.Minute)
		observe(t, c, "plain", true, listing...)
		if got := c.Servers()[0].ListedAt; !got.Equal(time.Now()) || m.writes != 2 {
			t.Errorf("listed at %v, %d writes", got, m.writes)
		}
	})
}

// What was not stored is not known: after a restart nothing else would be true.
func TestObserveWhileTheStoreIsAway(t *testing.T) {
	m := &memory{}
	c := newCatalog(t, m)
	m.away = errors.New("gone")
	if err := c.Observe(t.Context(), "plain", []Definition{tool("a", "")}, true); !errors.Is(err, m.away) {
		t.Errorf("error %v", err)
	}
	if got := names(t, c, "plain"); got != nil {
		t.Errorf("listed %q", got)
	}
	if _, err := c.Classify(t.Context(), []Classification{{Server: "plain", Tool: "a", Class: Read}}); !errors.Is(err, m.away) {
		t.Errorf("classify: %v", err)
	}
	if got := c.Lookup("plain", "a", false, nil).Class; got != Unknown {
		t.Errorf("class %s", got)
	}
	m.away = nil
	observe(t, c, "plain", true, tool("a", ""))
	m.away = errors.New("gone")
	if _, err := c.Pin(t.Context(), "plain"); !errors.Is(err, m.away) {
		t.Errorf("pin: %v", err)
	}
	if got := c.Lookup("plain", "a", false, tool("a", "").Raw).Pinned; got != PinUnknown {
		t.Errorf("pinned %s", got)
	}
}

func TestObserveLeavesOutWhatCannotBeKept(t *testing.T) {
	c := newCatalog(t, &memory{})
	err := c.Observe(t.Context(), "plain", []Definition{
		tool("good", ""),
		{Name: "broken", Raw: []byte(`{`)},
		{Name: "other", Raw: tool("name", "").Raw},
		{Name: "huge", Raw: fmt.Appendf(nil, `{"name":"huge","description":"%s"}`, strings.Repeat("x", maxDefinitionBytes))},
		tool("good", `{"readOnlyHint":true}`), // a second one of the name: the first stands
	}, true)
	if err == nil || !strings.Contains(err.Error(), "3 of 5 tools") {
		t.Errorf("error %v", err)
	}
	if diff := cmp.Diff([]string{"good"}, names(t, c, "plain")); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
	if entries, _ := c.Tools("plain"); string(entries[0].Definition) != string(tool("good", "").Raw) {
		t.Errorf("definition %s", entries[0].Definition)
	}
}

func TestAServerCannotFillTheCatalog(t *testing.T) {
	c := newCatalog(t, &memory{forget: true})
	for page := range 6 {
		list := make([]Definition, 2000)
		for i := range list {
			name := fmt.Sprintf("t%d-%d", page, i)
			list[i] = Definition{Name: name, Raw: fmt.Appendf(nil, `{"name":%q}`, name)}
		}
		err := c.Observe(t.Context(), "plain", list, false)
		if (err != nil) != (page == 5) {
			t.Errorf("page %d: %v", page, err)
		}
	}
	if n := c.Servers()[0].Tools; n != maxListedTools {
		t.Errorf("%d tools", n)
	}
}

func TestObserveAnUnknownServer(t *testing.T) {
	m := &memory{}
	c := newCatalog(t, m)
	if err := c.Observe(t.Context(), "other", []Definition{tool("a", "")}, true); !errors.Is(err, ErrUnknownServer) || m.writes != 0 {
		t.Errorf("%v, %d writes", err, m.writes)
	}
}

// A tool that leaves and comes back changed does not slip past its pin.
func TestPinsOutliveTheListing(t *testing.T) {
	c := newCatalog(t, &memory{})
	observe(t, c, "plain", true, tool("a", ""), tool("b", ""))
	if _, err := c.Pin(t.Context(), "plain"); err != nil {
		t.Fatal(err)
	}
	observe(t, c, "plain", true, tool("b", ""))
	if _, err := c.Pin(t.Context(), "plain"); err != nil { // a is not there to be pinned anew
		t.Fatal(err)
	}
	changed := tool("a", `{"title":"other"}`)
	observe(t, c, "plain", true, changed, tool("b", ""))
	if got := c.Lookup("plain", "a", false, changed.Raw).Pinned; got != Drift {
		t.Errorf("pinned %s, want drift", got)
	}
	if got := c.Servers()[0]; got.Tools != 2 || got.Drifted != 1 {
		t.Errorf("%+v", got)
	}
	if n, err := c.Pin(t.Context(), "plain"); n != 2 || err != nil {
		t.Errorf("%d pinned, %v", n, err)
	}
	if got := c.Lookup("plain", "a", false, changed.Raw).Pinned; got != Match {
		t.Errorf("after the new pin: %s", got)
	}
}

// Nobody pins what he has not seen.
func TestPinSeen(t *testing.T) {
	c := newCatalog(t, &memory{})
	observe(t, c, "plain", true, tool("a", ""), tool("b", ""))
	tools, err := c.Tools("plain")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]Digest{"a": tools[0].Digest}
	if n, err := c.PinSeen(t.Context(), "plain", seen); n != 1 || err != nil {
		t.Fatalf("%d pinned, %v", n, err)
	}
	if tools, _ = c.Tools("plain"); tools[0].Pinned != Match || tools[1].Pinned != PinUnknown {
		t.Errorf("pinned %s and %s", tools[0].Pinned, tools[1].Pinned)
	}
	changed := tool("a", `{"title":"other"}`)
	observe(t, c, "plain", true, changed, tool("b", ""))
	seen["b"] = tools[1].Digest
	if _, err := c.PinSeen(t.Context(), "plain", seen); !errors.Is(err, ErrChanged) {
		t.Errorf("changed meanwhile: %v", err)
	}
	if got := c.Lookup("plain", "a", false, changed.Raw).Pinned; got != Drift {
		t.Errorf("pinned %s, want drift", got)
	}
	if tools, _ = c.Tools("plain"); tools[1].Pinned != PinUnknown {
		t.Error("the other one is pinned all the same")
	}
	if _, err := c.PinSeen(t.Context(), "plain", map[string]Digest{"gone": {}}); !errors.Is(err, ErrChanged) {
		t.Errorf("not listed: %v", err)
	}
	if _, err := c.PinSeen(t.Context(), "plain", nil); !errors.Is(err, ErrNotListed) {
		t.Errorf("nothing: %v", err)
	}
}

func TestPinNeedsAListing(t *testing.T) {
	c := newCatalog(t, &memory{})
	if _, err := c.Pin(t.Context(), "plain"); !errors.Is(err, ErrNotListed) {
		t.Errorf("%v, want ErrNotListed", err)
	}
	if _, err := c.Pin(t.Context(), "other"); !errors.Is(err, ErrUnknownServer) {
		t.Errorf("%v, want ErrUnknownServer", err)
	}
}

func TestClassifyAllOrNothing(t *testing.T) {
	m := &memory{}
	c := newCatalog(t, m)
	good := Classification{Server: "plain", Tool: "a", Class: Read}
	for name, bad := range map[string]Classification{
		"class":          {Server: "plain", Tool: "b", Class: "harmless"},
		"upper case":     {Server: "plain", Tool: "b", Class: "Read"},
		"no tool":        {Server: "plain", Class: Read},
		"trait":          {Server: "plain", Tool: "b", Class: Read, Traits: []string{"No Trait"}},
		"drift":          {Server: "plain", Tool: "b", Class: Read, Traits: []string{"drift"}},
		"traits alone":   {Server: "plain", Tool: "b", Traits: []string{"x"}},
		"unknown server": {Server: "other", Tool: "b", Class: Read},
	} {
		_, err := c.Classify(t.Context(), []Classification{good, bad})
		if !errors.Is(err, ErrInvalidClassification) && !errors.Is(err, ErrUnknownServer) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := c.Lookup("plain", "a", false, nil).Class; got != Unknown || m.writes != 0 {
		t.Errorf("class %s, %d writes", got, m.writes)
	}
}

func TestClassifyCountsWhatChanges(t *testing.T) {
	m := &memory{}
	c := newCatalog(t, m)
	for _, test := range []struct {
		list []Classification
		want int
	}{
		{[]Classification{{Server: "plain", Tool: "a", Class: Read, Traits: []string{"y", "x"}}}, 1},
		{[]Classification{{Server: "plain", Tool: "a", Class: Read, Traits: []string{"x", "y", "x"}}}, 0},
		{[]Classification{{Server: "plain", Tool: "a", Class: Read}, {Server: "plain", Tool: "b", Class: Write}}, 2},
		{[]Classification{{Server: "plain", Tool: "a"}, {Server: "plain", Tool: "c"}}, 1},
		{[]Classification{{Server: "plain", Tool: "b"}, {Server: "plain", Tool: "b", Class: Write}}, 2},
		{nil, 0},
	} {
		if got, err := c.Classify(t.Context(), test.list); got != test.want || err != nil {
			t.Errorf("%+v: %d changed, %v; want %d", test.list, got, err, test.want)
		}
	}
	want := []Classification{{Server: "plain", Tool: "b", Class: Write}}
	if diff := cmp.Diff(want, m.stored.Overrides); diff != "" {
		t.Errorf("stored (-want +got):\n%s", diff)
	}
}

func TestNewWhileTheStoreIsAway(t *testing.T) {
	m := &memory{away: errors.New("gone")}
	if c, err := New(t.Context(), m, servers, nil); c != nil || !errors.Is(err, m.away) {
		t.Errorf("%v, %v", c, err)
	}
}

func TestService(t *testing.T) {
	c := newCatalog(t, &memory{})
	s := NewService(c, slog.New(slog.DiscardHandler))
	observe(t, c, "trusted", true, tool("a", `{"readOnlyHint":true}`), tool("b", ""))
	if _, err := s.PinServer(t.Context(), &mcpermitv1.PinServerRequest{Server: "trusted"}); err != nil {
		t.Fatal(err)
	}
	changed := tool("b", `{"title":"changed"}`)
	observe(t, c, "trusted", false, changed)
	classified, err := s.ClassifyTools(t.Context(), &mcpermitv1.ClassifyToolsRequest{Classifications: []*mcpermitv1.Classification{
		{Server: "trusted", Tool: "later", Class: "financial"},
	}})
	if err != nil || classified.GetChanged() != 1 {
		t.Errorf("%v, %v", classified, err)
	}

	list, err := s.ListServers(t.Context(), nil)
	if err != nil || len(list.GetServers()) != 2 {
		t.Fatalf("%v, %v", list, err)
	}
	plain, trusted := list.GetServers()[0], list.GetServers()[1]
	if plain.GetName() != "plain" || plain.GetTrusted() || plain.GetListedAt() != nil || plain.GetLabels()["a"] != "b" {
		t.Errorf("%v", plain)
	}
	if !trusted.GetTrusted() || trusted.GetTools() != 2 || trusted.GetDrifted() != 1 || trusted.GetListedAt() == nil {
		t.Errorf("%v", trusted)
	}

	tools, err := s.ListTools(t.Context(), &mcpermitv1.ListToolsRequest{Server: "trusted"})
	if err != nil || len(tools.GetTools()) != 3 {
		t.Fatalf("%v, %v", tools, err)
	}
	a, b, later := tools.GetTools()[0], tools.GetTools()[1], tools.GetTools()[2]
	if a.GetServer() != "trusted" || a.GetName() != "a" || a.GetClass() != Read || a.GetRisk() != Low || a.GetPinned() != Match ||
		len(a.GetDigest()) != 64 || a.GetDigest() != a.GetPinnedDigest() || string(a.GetDefinition()) != string(a.GetPinnedDefinition()) {
		t.Errorf("%v", a)
	}
	if b.GetPinned() != Drift || b.GetDigest() == b.GetPinnedDigest() || string(b.GetDefinition()) != string(changed.Raw) ||
		string(b.GetPinnedDefinition()) != string(tool("b", "").Raw) {
		t.Errorf("%v", b)
	}
	if later.GetClass() != Financial || later.GetDigest() != "" || later.GetDefinition() != nil || later.GetPinned() != PinUnknown {
		t.Errorf("%v", later)
	}

	_, err = s.ListTools(t.Context(), &mcpermitv1.ListToolsRequest{Server: "other"})
	if status.Code(err) != codes.NotFound {
		t.Errorf("unknown server: %v", err)
	}
	_, err = s.PinServer(t.Context(), &mcpermitv1.PinServerRequest{Server: "plain"})
	if status.Code(err) != codes.FailedPrecondition {
		t.Errorf("nothing listed: %v", err)
	}
	_, err = s.ClassifyTools(t.Context(), &mcpermitv1.ClassifyToolsRequest{Classifications: []*mcpermitv1.Classification{{Server: "plain", Tool: "x", Class: "nice"}}})
	if status.Code(err) != codes.InvalidArgument {
		t.Errorf("no class: %v", err)
	}
}
