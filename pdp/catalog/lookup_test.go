package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestWithoutAWordTheClassIsUnknown(t *testing.T) {
	c := newCatalog(t, &memory{})
	for _, definition := range [][]byte{nil, tool("x", "").Raw, tool("x", "{}").Raw, tool("x", `{"title":"X"}`).Raw} {
		got := c.Lookup("plain", "x", true, definition)
		if got.Class != Unknown || got.Risk != High || got.Pinned != PinUnknown || got.Name != "x" {
			t.Errorf("%s: %+v", definition, got)
		}
	}
}

func TestClassFromAnnotations(t *testing.T) {
	c := newCatalog(t, &memory{})
	for _, test := range []struct{ annotations, trusted, plain string }{
		{`{"readOnlyHint":true}`, Read, Unknown},
		{`{"readOnlyHint":true,"destructiveHint":false}`, Read, Unknown},
		{`{"readOnlyHint":true,"destructiveHint":true}`, Read, Unknown}, // destructive has no meaning beside read-only
		{`{"readOnlyHint":false}`, Unknown, Unknown},
		{`{"readOnlyHint":false,"destructiveHint":false}`, Write, Unknown},
		{`{"destructiveHint":false}`, Write, Unknown},
		{`{"destructiveHint":true}`, Destructive, Destructive},
		{`{"readOnlyHint":false,"destructiveHint":true}`, Destructive, Destructive},
		{`{"readOnlyHint":false,"destructiveHint":true,"idempotentHint":true,"openWorldHint":true}`, Destructive, Destructive},
		// The specification's defaults, written out by an SDK.
		{`{"readOnlyHint":false,"destructiveHint":true,"idempotentHint":false,"openWorldHint":true}`, Unknown, Unknown},
		// What is not a boolean is no hint.
		{`{"readOnlyHint":"true"}`, Unknown, Unknown},
		{`{"readOnlyHint":1,"destructiveHint":null}`, Unknown, Unknown},
		{`{"ReadOnlyHint":true,"readonlyhint":true}`, Unknown, Unknown},
		{`null`, Unknown, Unknown},
		{`["readOnlyHint"]`, Unknown, Unknown},
	} {
		d := tool("x", test.annotations).Raw
		if got := c.Lookup("trusted", "x", true, d).Class; got != test.trusted {
			t.Errorf("%s on a trusted server: %s, want %s", test.annotations, got, test.trusted)
		}
		if got := c.Lookup("plain", "x", false, d).Class; got != test.plain {
			t.Errorf("%s on another server: %s, want %s", test.annotations, got, test.plain)
		}
	}
}

// Of a server that is not trusted, no annotation lowers a class: it is unknown
// or worse.
func TestAnUntrustedServerCanOnlyMakeThingsStricter(t *testing.T) {
	c := newCatalog(t, &memory{})
	value := rapid.SampledFrom([]string{"", "true", "false", "null", `"true"`})
	rapid.Check(t, func(t *rapid.T) {
		var members []string
		for _, name := range []string{"readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"} {
			if v := value.Draw(t, name); v != "" {
				members = append(members, fmt.Sprintf("%q:%s", name, v))
			}
		}
		d := tool("x", "{"+strings.Join(members, ",")+"}").Raw
		if got := c.Lookup("plain", "x", false, d).Class; got != Unknown && got != Destructive {
			t.Fatalf("class %s", got)
		}
	})
}

func TestTheOperatorsWordWins(t *testing.T) {
	m := &memory{}
	c := newCatalog(t, m)
	d := tool("x", `{"destructiveHint":true}`).Raw
	changed, err := c.Classify(t.Context(), []Classification{{Server: "plain", Tool: "x", Class: Read, Traits: []string{"reviewed"}}})
	if err != nil || changed != 1 {
		t.Fatalf("%d changed, %v", changed, err)
	}
	for _, cat := range []*Catalog{c, newCatalog(t, m)} { // also after a restart
		got := cat.Lookup("plain", "x", false, d)
		if got.Class != Read || got.Risk != Low || !slices.Equal(got.Traits, []string{"reviewed"}) {
			t.Errorf("%+v", got)
		}
		if got := cat.Lookup("plain", "x", false, nil); got.Class != Read {
			t.Errorf("without a definition: %+v", got)
		}
		if got := cat.Lookup("trusted", "x", true, d); got.Class != Destructive {
			t.Errorf("another server's tool of the same name: %+v", got)
		}
	}
	if changed, err := c.Classify(t.Context(), []Classification{{Server: "plain", Tool: "x"}}); err != nil || changed != 1 {
		t.Fatalf("%d changed, %v", changed, err)
	}
	if got := c.Lookup("plain", "x", false, d); got.Class != Destructive || len(got.Traits) != 0 {
		t.Errorf("after its removal: %+v", got)
	}
}

func TestRisks(t *testing.T) {
	m := &memory{}
	c := newCatalog(t, m)
	code := Definition{Raw: []byte(`{"name":"x","inputSchema":{"properties":{"sql":{"type":"string"}}}}`)}
	for class, want := range map[string]string{
		Read: Low, Write: Medium, Communicate: High, Admin: High, Execute: High, Unknown: High, Destructive: Critical, Financial: Critical,
	} {
		if _, err := c.Classify(t.Context(), []Classification{{Server: "plain", Tool: "x", Class: class}}); err != nil {
			t.Fatal(err)
		}
		if got := c.Lookup("plain", "x", false, nil).Risk; got != want {
			t.Errorf("%s: %s, want %s", class, got, want)
		}
		if class == Execute {
			want = Critical
		}
		if got := c.Lookup("plain", "x", false, code.Raw).Risk; got != want {
			t.Errorf("%s with free code: %s, want %s", class, got, want)
		}
	}
}

func TestTraits(t *testing.T) {
	c := newCatalog(t, &memory{})
	for properties, want := range map[string][]string{
		`{}`:                                    nil,
		`{"amount":{}}`:                         nil,
		`{"webhookUrl":{},"imageURL":{}}`:       {TakesURL},
		`{"where":{"format":"uri"}}`:            {TakesURL},
		`{"file_path":{},"to":{}}`:              {TakesPath, TakesRecipient},
		`{"apiKey":{}}`:                         {TakesCredential},
		`{"api_key_id":{},"APIKey":{}}`:         {TakesCredential},
		`{"sql":{},"command":{}}`:               {FreeFormCode},
		`{"total":{},"encoder":{},"profile":5}`: nil, // words, not parts of words
		`[]`:                                    nil,
		`"url"`:                                 nil,
	} {
		d := []byte(`{"name":"x","inputSchema":{"type":"object","properties":` + properties + `}}`)
		if diff := cmp.Diff(want, c.Lookup("plain", "x", false, d).Traits); diff != "" {
			t.Errorf("%s (-want +got):\n%s", properties, diff)
		}
	}
}

func TestSplitName(t *testing.T) {
	for name, want := range map[string][]string{
		"webhookUrl": {"webhook", "url"}, "baseURLPath": {"base", "url", "path"}, "file_path": {"file", "path"},
		"X-API-Key": {"x", "api", "key"}, "a.b": {"a", "b"}, "": nil, "__": nil, "ABC": {"abc"}, "été": {"été"}, "v2Path": {"v2", "path"},
	} {
		if diff := cmp.Diff(want, splitName(name)); diff != "" {
			t.Errorf("%q (-want +got):\n%s", name, diff)
		}
	}
}

// The definition of another tool says nothing of this one.
func TestADefinitionOfAnotherName(t *testing.T) {
	c := newCatalog(t, &memory{})
	observe(t, c, "trusted", true, tool("x", ""))
	if _, err := c.Pin(t.Context(), "trusted"); err != nil {
		t.Fatal(err)
	}
	got := c.Lookup("trusted", "x", true, tool("y", `{"readOnlyHint":true}`).Raw)
	if got.Class != Unknown || got.Pinned != Drift || got.Digest != (Digest{}) {
		t.Errorf("%+v", got)
	}
}

// I1: a definition that cannot be read never counts as the pinned one.
func TestI1_AnUnreadableDefinitionIsDrift(t *testing.T) {
	c := newCatalog(t, &memory{})
	observe(t, c, "trusted", true, tool("x", `{"readOnlyHint":true}`))
	if _, err := c.Pin(t.Context(), "trusted"); err != nil {
		t.Fatal(err)
	}
	for _, raw := range []string{
		`{`, `[]`, `"x"`, `{}`, `{"name":1}`, `{"name":"x"}{}`, ` `, `{"name":"x","name":"x"}`,
		`{"name":"x","annotations":{"readOnlyHint":false,"readOnlyHint":true}}`, "{\"name\":\"x\",\"description\":\"\xff\"}",
	} {
		got := c.Lookup("trusted", "x", true, []byte(raw))
		if got.Class != Unknown || got.Pinned != Drift || !slices.Contains(got.Traits, TraitDrift) {
			t.Errorf("%s: %+v", raw, got)
		}
		if got := c.Lookup("plain", "x", true, []byte(raw)); got.Pinned != PinUnknown {
			t.Errorf("%s, not pinned: %+v", raw, got)
		}
	}
}

// SECURITY T8: after a pin, whatever is changed in what tells a model or a
// person about the tool is drift; what a server may change freely is not.
func TestPins(t *testing.T) {
	const original = `{"name":"x","title":"X","description":"does it","inputSchema":{"type":"object","properties":{"n":{"maximum":10}}},` +
		`"outputSchema":{"type":"object"},"annotations":{"readOnlyHint":true},"icons":[],"_meta":{"v":1}}`
	m := &memory{}
	c := newCatalog(t, m)
	look := func(raw string) Tool { return c.Lookup("trusted", "x", true, []byte(raw)) }
	if got := look(original).Pinned; got != PinUnknown {
		t.Errorf("before the pin: %s", got)
	}
	observe(t, c, "trusted", true, Definition{"x", []byte(original)})
	if n, err := c.Pin(t.Context(), "trusted"); n != 1 || err != nil {
		t.Fatalf("%d pinned, %v", n, err)
	}
	for _, c2 := range []*Catalog{c, newCatalog(t, m)} { // also after a restart
		c = c2
		for _, change := range [][2]string{
			{`"icons":[]`, `"icons":[{"src":"y"}]`},
			{`{"v":1}`, `{"v":2}`},
			{`"title":"X","description":"does it"`, `"description":"does\u0020it", "title":"\u0058"`},
			{``, ` `},
		} {
			if got := look(strings.Replace(original, change[0], change[1], 1)); got.Pinned != Match || slices.Contains(got.Traits, TraitDrift) {
				t.Errorf("%s → %s: %+v", change[0], change[1], got)
			}
		}
		for _, change := range [][2]string{
			{"does it", "does it."},
			{`"title":"X"`, `"title":"Y"`},
			{`"title":"X",`, ``},
			{`"maximum":10`, `"maximum":100`},
			{`"maximum":10`, `"maximum":10.000000000000000001`},
			{`"maximum":10`, `"minimum":10`},
			{`"outputSchema":{"type":"object"},`, ``},
			{`"readOnlyHint":true`, `"readOnlyHint":false`},
			{`"readOnlyHint":true`, `"readOnlyHint":true,"new":1`},
		} {
			changed := strings.Replace(original, change[0], change[1], 1)
			if changed == original {
				t.Fatalf("%s is not in the original", change[0])
			}
			if got := look(changed); got.Pinned != Drift || !slices.Contains(got.Traits, TraitDrift) {
				t.Errorf("%s → %s: %+v", change[0], change[1], got)
			}
		}
		// Without a definition nothing can be compared.
		if got := c.Lookup("trusted", "x", true, nil).Pinned; got != PinUnknown {
			t.Errorf("no definition: %s", got)
		}
		// A tool that came later was never reviewed; that is not drift.
		if got := c.Lookup("trusted", "new", true, tool("new", "").Raw).Pinned; got != PinUnknown {
			t.Errorf("a new tool: %s", got)
		}
	}
}

// The two numbers are one to a reader of float64; the digest tells them apart.
func TestDigestKeepsNumbersExact(t *testing.T) {
	c := newCatalog(t, &memory{})
	digest := func(n string) Digest {
		return c.Lookup("plain", "x", false, []byte(`{"name":"x","inputSchema":{"maximum":`+n+`}}`)).Digest
	}
	if digest("9007199254740993") == digest("9007199254740992") {
		t.Error("one digest")
	}
}

// A server cannot move text from one member to another, or out of one, and
// keep the digest.
func TestDigestTellsMembersApart(t *testing.T) {
	c := newCatalog(t, &memory{})
	seen := map[Digest]string{}
	for _, raw := range []string{
		`{"name":"x"}`, `{"name":"x","title":"a"}`, `{"name":"x","description":"a"}`, `{"name":"x","description":""}`,
		`{"name":"x","description":null}`, `{"name":"x","inputSchema":{}}`, `{"name":"x","outputSchema":{}}`, `{"name":"x","annotations":{}}`,
		`{"name":"x","inputSchema":{"a":[1,2]}}`, `{"name":"x","inputSchema":{"a":[2,1]}}`,
	} {
		d := c.Lookup("plain", "x", false, []byte(raw)).Digest
		if other, ok := seen[d]; ok || d == (Digest{}) {
			t.Errorf("%s and %s have one digest", raw, other)
		}
		seen[d] = raw
	}
}

func TestLookupAsksNoStore(t *testing.T) {
	m := &memory{}
	c := newCatalog(t, m)
	m.away = errors.New("gone")
	reads := m.reads
	for i := range 100 {
		name := fmt.Sprint("t", i%10)
		c.Lookup("plain", name, false, tool(name, fmt.Sprintf(`{"title":"%d"}`, i)).Raw)
	}
	if m.reads != reads || m.writes != 0 {
		t.Errorf("%d reads, %d writes", m.reads-reads, m.writes)
	}
}

// What the caller does with its buffer afterwards does not reach the cache.
func TestLookupKeepsItsOwnBytes(t *testing.T) {
	c := newCatalog(t, &memory{})
	raw := tool("x", `{"readOnlyHint":true}`).Raw
	first := c.Lookup("trusted", "x", true, raw)
	clear(raw)
	second := c.Lookup("trusted", "x", true, tool("x", `{"readOnlyHint":true}`).Raw)
	if diff := cmp.Diff(first, second); diff != "" || string(first.Annotations) != `{"readOnlyHint":true}` {
		t.Errorf("%s\n%s", first.Annotations, diff)
	}
}

// held adds up what the cache really has.
func (c *cache) held() (count, size int) {
	c.read.Range(func(_, v any) bool {
		count++
		size += len(v.(*cached).raw)
		return true
	})
	return count, size
}

func TestTheCacheOfDefinitionsIsBounded(t *testing.T) {
	var c cache
	for i := range 200 {
		c.put(uint64(i), &cached{raw: make([]byte, 1<<20)})
		if count, size := c.held(); size > maxCachedBytes || size != c.bytes || count != c.count {
			t.Fatalf("%d bytes in %d held, %d in %d counted", size, count, c.bytes, c.count)
		}
	}
	for i := range 3 * maxCachedDefinitions {
		c.put(uint64(1000+i), &cached{raw: fmt.Append(nil, i)})
	}
	if count, size := c.held(); count > maxCachedDefinitions || size != c.bytes || count != c.count {
		t.Fatalf("%d bytes in %d held, %d in %d counted", size, count, c.bytes, c.count)
	}
}

// Two definitions under one key do not pass for each other.
func TestACollisionInTheCache(t *testing.T) {
	var c cache
	first, second := &cached{raw: []byte("first")}, &cached{raw: []byte("second")}
	c.put(1, first)
	if c.find(1, second.raw) != nil {
		t.Error("the first passes for the second")
	}
	if c.put(1, second) != second || c.find(1, first.raw) != nil || c.find(1, second.raw) != second {
		t.Error("the second does not take the place of the first")
	}
	if c.count != 1 || c.bytes != len("second") {
		t.Errorf("%d definitions, %d bytes", c.count, c.bytes)
	}
}

func TestAllShareOneDefinition(t *testing.T) {
	var c cache
	raw := tool("x", "").Raw
	found := make([]*definition, 8)
	var wg sync.WaitGroup
	for i := range found {
		wg.Go(func() { found[i], _ = c.get(raw) })
	}
	wg.Wait()
	for _, d := range found {
		if d == nil || d != found[0] {
			t.Fatal("a definition was read twice and kept twice")
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	c := newCatalog(t, &memory{})
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				d := tool("x", fmt.Sprintf(`{"title":"%d"}`, i%7))
				observe(t, c, "plain", w%2 == 0, d)
				if got := c.Lookup("plain", "x", false, d.Raw); got.Digest == (Digest{}) {
					t.Error("no digest")
				}
				if err := c.Validate(d.Raw, []byte(`{"a":1}`)); err != nil {
					t.Error(err)
				}
				if _, err := c.Pin(t.Context(), "plain"); err != nil {
					t.Error(err)
				}
				if _, err := c.Classify(t.Context(), []Classification{{Server: "plain", Tool: strconv.Itoa(w), Class: Read}}); err != nil {
					t.Error(err)
				}
				c.Servers()
			}
		})
	}
	wg.Wait()
}
