package mcp

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func listingOf(t testing.TB, method, frame string) *Listing {
	t.Helper()
	l, err := ReadListing(method, []byte(frame), Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestI3_KeepCutsAndNothingElse(t *testing.T) {
	const three = `{"name":"a"}, {"name":"b","x":[1, 2]} ,{"name":"c"}`
	for _, c := range []struct {
		name, before, after string
		keep                string // one digit for each item
	}{
		{"all", `{"jsonrpc":"2.0","id":1,"result":{"tools":[ ` + three + ` ]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[ ` + three + ` ]}}`, "111"},
		{"none", `{"jsonrpc":"2.0","id":1,"result":{"tools":[` + three + `]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}`, "000"},
		{"first", `{"jsonrpc":"2.0","id":1,"result":{"tools":[` + three + `]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}]}}`, "100"},
		{"middle", `{"jsonrpc":"2.0","id":1,"result":{"tools":[` + three + `]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"b","x":[1, 2]}]}}`, "010"},
		{"last", `{"jsonrpc":"2.0","id":1,"result":{"tools":[` + three + `]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"c"}]}}`, "001"},
		{"two", `{"jsonrpc":"2.0","id":1,"result":{"tools":[` + three + `]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"} ,{"name":"c"}]}}`, "101"},
		{"too few flags", `{"jsonrpc":"2.0","id":1,"result":{"tools":[` + three + `]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}]}}`, "1"},
		{"empty", `{"jsonrpc":"2.0","id":1,"result":{"tools":[ ]}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[ ]}}`, ""},
		{
			"members in another order, with everything else as it was",
			"\n{ \"result\" : {\"_meta\":{\"x\":1},\"nextCursor\":\"tools\",\"ttlMs\":90000,\"tools\":[{\"name\":\"a\"}\n,{\"name\":\"b\"}],\"cacheScope\" : \"public\",\"vendor\":{\"tools\":[]}} , \"id\":\"x\",\"jsonrpc\":\"2.0\"}\n",
			"\n{ \"result\" : {\"_meta\":{\"x\":1},\"nextCursor\":\"tools\",\"ttlMs\":1000,\"tools\":[{\"name\":\"b\"}],\"cacheScope\" : \"private\",\"vendor\":{\"tools\":[]}} , \"id\":\"x\",\"jsonrpc\":\"2.0\"}\n",
			"01",
		},
		{"short ttl stays", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":1e2,"cacheScope":"private"}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":1e2,"cacheScope":"private"}}`, ""},
		{"negative ttl", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":-5}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":0}}`, ""},
		{"huge ttl", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":1e999}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":0}}`, ""},
		{"no ttl at all", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":"forever","cacheScope":null}}`, `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"ttlMs":0,"cacheScope":"private"}}`, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := listingOf(t, "tools/list", c.before)
			keep := make([]bool, len(c.keep))
			for i := range keep {
				keep[i] = c.keep[i] == '1'
			}
			if diff := cmp.Diff(c.after, string(l.Keep(keep, 1000))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestReadListingItems(t *testing.T) {
	for _, c := range []struct {
		method, frame string
		names         []string
		dropped       int
		cursor        string
	}{
		{"tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"title":"T","name":"\u0061"}],"nextCursor":"c"}}`, []string{"a"}, 0, `"c"`},
		{"prompts/list", `{"jsonrpc":"2.0","id":1,"result":{"prompts":[{"name":"p"},{"name":"p"}]}}`, []string{"p", "p"}, 0, ``},
		{"resources/list", `{"jsonrpc":"2.0","id":1,"result":{"resources":[{"name":"n","uri":"file:///a"}]}}`, []string{"file:///a"}, 0, ``},
		{"resources/templates/list", `{"jsonrpc":"2.0","id":1,"result":{"resourceTemplates":[{"uriTemplate":"file:///{p}","name":"n"}]}}`, []string{"file:///{p}"}, 0, ``},
		{"tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a","inputSchema":{"properties":{"id":{},"ID":{},"i_d":{"maximum":1e999}}}}]}}`, []string{"a"}, 0, ``},
		// What cannot be named is dropped.
		{"tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[1,null,[],{},{"name":1},{"name":""},{"name":"a\n"},{"name":"\ud800"},{"inner":{"name":"x"}},{"name":"ok"},{"name":"` + strings.Repeat("n", 257) + `"}]}}`, []string{"ok"}, 10, ``},
	} {
		l := listingOf(t, c.method, c.frame)
		var names []string
		keep := make([]bool, len(l.Items))
		for i, item := range l.Items {
			keep[i] = true
			names = append(names, item.Name)
			var entry map[string]json.RawMessage
			if err := json.Unmarshal(item.Raw, &entry); err != nil {
				t.Errorf("%s: %v", item.Raw, err)
			}
		}
		if diff := cmp.Diff(c.names, names); diff != "" || l.Dropped != c.dropped || string(l.NextCursor) != c.cursor {
			t.Errorf("%s: %s dropped %d, cursor %s", c.frame, diff, l.Dropped, l.NextCursor)
		}
		again := listingOf(t, c.method, string(l.Keep(keep, 0)))
		if len(again.Items) != len(l.Items) || again.Dropped != 0 {
			t.Errorf("%s: kept %d items, %d of them unnamed", c.frame, len(again.Items), again.Dropped)
		}
	}
}

func TestI1_ReadListingRefuses(t *testing.T) {
	for _, c := range []struct{ name, method, frame, rule string }{
		{"no listing method", "tools/call", `{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}`, RuleListing},
		{"no list", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{}}`, RuleListing},
		{"another list", "prompts/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}`, RuleListing},
		{"list is an object", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":{"0":{"name":"a"}}}}`, RuleListing},
		{"list is null", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":null}}`, RuleListing},
		{"list in a string", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":"[]"}}`, RuleListing},
		{"a request", "tools/list", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, RuleListing},
		{"list twice", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools":[{"name":"a"}]}}`, RuleDuplicate},
		{"list twice, escaped", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"t\u006fols":[{"name":"a"}]}}`, RuleDuplicate},
		{"list in capitals", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"Tools":[{"name":"a"}]}}`, RuleFold},
		{"list only in capitals", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"Tools":[{"name":"a"}]}}`, RuleFold},
		{"list with NUL", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"tools\u0000":[{"name":"a"}]}}`, RuleControlName},
		{"cache_scope", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[],"cache_scope":"public"}}`, RuleFold},
		{"name twice", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"safe","name":"evil"}]}}`, RuleDuplicate},
		{"name in capitals", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"safe","Name":"evil"}]}}`, RuleFold},
		{"list beside the result", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"tools":[]}`, RuleEnvelope},
		{"result twice", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[]},"result":{"tools":[{"name":"a"}]}}`, RuleDuplicate},
		{"two messages", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[]}}{}`, RuleTrailing},
		{"cut off", "tools/list", `{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"a"}`, RuleTruncated},
		{"gzip", "tools/list", "\x1f\x8b\x08\x00\x00\x00", RuleUTF8},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := ReadListing(c.method, []byte(c.frame), Limits{})
			fault, ok := errors.AsType[*Fault](err)
			if !ok || fault.Rule != c.rule || l != nil {
				t.Errorf("got %v, %v, want %s", l, err, c.rule)
			}
		})
	}
	l, err := ReadListing("tools/list", []byte(`{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"no"}}`), Limits{})
	if l != nil || err != nil {
		t.Errorf("an error is no listing: %v, %v", l, err)
	}
}

// However the listing is laid out, what is kept is kept to the byte and in
// order, and what is not is gone.
func TestI3_KeepProperty(t *testing.T) {
	space := rapid.SampledFrom([]string{"", " ", "\n\t", "\r\n"})
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 6).Draw(t, "n")
		keep := make([]bool, n)
		var list strings.Builder
		var want []string
		for i := range n {
			if i > 0 {
				list.WriteString(space.Draw(t, "before") + "," + space.Draw(t, "after"))
			}
			entry := fmt.Sprintf(`{%s"name":"t%d"%s}`, space.Draw(t, "in"), i, space.Draw(t, "out"))
			list.WriteString(entry)
			if keep[i] = rapid.Bool().Draw(t, "keep"); keep[i] {
				want = append(want, entry)
			}
		}
		before := `{"jsonrpc":"2.0","id":1,"result":{"tools":[` + space.Draw(t, "open") + list.String() + space.Draw(t, "close") + `]}}`
		l, err := ReadListing("tools/list", []byte(before), Limits{})
		if err != nil {
			t.Fatal(err)
		}
		after := l.Keep(keep, 0)
		again, err := ReadListing("tools/list", after, Limits{})
		if err != nil {
			t.Fatalf("%s: %v", after, err)
		}
		var got []string
		for _, item := range again.Items {
			got = append(got, string(item.Raw))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%s\n%s", after, diff)
		}
	})
}
