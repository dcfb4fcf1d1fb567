package policy

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v4"
	"pgregory.net/rapid"
)

func TestDataFiles(t *testing.T) {
	type object = map[string]any
	for _, tt := range []struct {
		name    string
		entries []entry
		want    object
		err     string
	}{
		{name: "none", want: object{}},
		{
			name: "at the path of the directory, whatever the name",
			entries: []entry{
				{"data.json", []byte(`{"a": 1}`)},
				{"x/y/limits.yaml", []byte("b: two")},
				{"x/y/z.yml", []byte("c: [true, null, 1.50, \"yes\"]")},
			},
			want: object{"a": json.Number("1"), "x": object{"y": object{
				"b": "two", "c": []any{true, nil, json.Number("1.50"), "yes"},
			}}},
		},
		{
			name:    "objects are merged",
			entries: []entry{{"a.json", []byte(`{"x": {"a": 1}}`)}, {"x/b.json", []byte(`{"b": 2}`)}},
			want:    object{"x": object{"a": json.Number("1"), "b": json.Number("2")}},
		},
		{name: "the same value twice", entries: []entry{{"a.json", []byte(`{"x": 1}`)}, {"b.json", []byte(`{"x": 1}`)}}, err: "b.json: data.x is given by another file"},
		{name: "an object and a value", entries: []entry{{"a.json", []byte(`{"x": {"y": 1}}`)}, {"b.json", []byte(`{"x": 1}`)}}, err: "data.x"},
		{
			name:    "exact numbers",
			entries: []entry{{"a.json", []byte(`{"x": [9007199254740993, 0.1, 100.00000000000000001]}`)}},
			want:    object{"x": []any{json.Number("9007199254740993"), json.Number("0.1"), json.Number("100.00000000000000001")}},
		},
		{name: "no object", entries: []entry{{"a.json", []byte(`[1]`)}}, err: "one object"},
		{name: "duplicate name", entries: []entry{{"a.json", []byte(`{"x": {"y": 1, "\u0079": 2}}`)}}, err: "duplicate"},
		{name: "trailing value", entries: []entry{{"a.json", []byte(`{} {}`)}}, err: "more behind"},
		{name: "trailing comma", entries: []entry{{"a.json", []byte(`{"x": 1,}`)}}, err: "a.json"},
		{name: "empty", entries: []entry{{"a.json", nil}}, err: "a.json"},
		{name: "YAML in .json", entries: []entry{{"a.json", []byte("x: 1")}}, err: "a.json"},
		{name: "invalid UTF-8", entries: []entry{{"a.json", []byte("{\"x\": \"\xff\"}")}}, err: "UTF-8"},
		{name: "huge exponent", entries: []entry{{"a.json", []byte(`{"x": 1e400000}`)}}, err: "out of range"},
		{name: "deep", entries: []entry{{"a.json", []byte(`{"x": ` + strings.Repeat("[", 200) + strings.Repeat("]", 200) + `}`)}}, err: "nested deeper"},
		{name: "YAML duplicate name", entries: []entry{{"a.yaml", []byte("x: 1\nx: 2")}}, err: "a.yaml"},
		{name: "YAML duplicate name, nested", entries: []entry{{"a.yaml", []byte("x:\n  y: 1\n  \"y\": 2")}}, err: "a.yaml"},
		{name: "YAML alias", entries: []entry{{"a.yaml", []byte("x: &a [1]\ny: *a")}}, err: "anchors"},
		{name: "YAML merge key", entries: []entry{{"a.yaml", []byte("x: {<<: {a: 1}}")}}, err: "<<"},
		{name: "YAML tag", entries: []entry{{"a.yaml", []byte("x: !!str 1")}}, err: "tags"},
		{name: "YAML number as a name", entries: []entry{{"a.yaml", []byte("1: x")}}, err: "quote it"},
		{name: "YAML two documents", entries: []entry{{"a.yaml", []byte("x: 1\n---\nx: 2")}}, err: "a.yaml"},
		{name: "YAML empty", entries: []entry{{"a.yaml", []byte("# nothing")}}, err: "a.yaml"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := gatherData(tt.entries, isTreeData)
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%v, %v; want an error with %q", got, err, tt.err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
	// What YAML 1.1 and 1.2 read differently has to be written clearly.
	for _, bare := range []string{"yes", "No", "ON", "off", "y", "010", "0o10", "0x10", "1_000", ".inf", ".NaN", "+1", "1.", ".5", "2001-01-01", "True", "NULL", "Null"} {
		_, err := readYAML([]byte("x: " + bare))
		if err == nil || !strings.Contains(err.Error(), "quote it") {
			t.Errorf("bare %s: %v", bare, err)
		}
		if _, err := readYAML([]byte("x: \"" + bare + "\"")); err != nil {
			t.Errorf("quoted %s: %v", bare, err)
		}
	}
}

// TestArchiveDataReadsTheSameInOPA: what the signature covers, OPA's reading of
// a data file, is what is put in force.
func TestArchiveDataReadsTheSameInOPA(t *testing.T) {
	for _, tt := range []struct {
		yaml string
		ok   bool
	}{
		{"limits: {refund: 50000, share: 0.25, x, none: ~}", true},
		{"limits: {refund: 1.0}", true},
		{"limits: {refund: 100.00000000000000001}", false}, // OPA's YAML goes through float64
	} {
		_, err := readArchive([]entry{stripeModule("x"), {"data.yaml", []byte(tt.yaml)}}, nil, false)
		if (err == nil) != tt.ok {
			t.Errorf("%s: %v", tt.yaml, err)
		}
	}
}

// TestDataRoundTrip: any JSON document reads back as it was written, from JSON
// and from YAML.
func TestDataRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := map[string]any{"x": jsonValues(3).Draw(t, "document")}
		asJSON, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		asYAML, err := yaml.Marshal(plain(want))
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []entry{{"a.json", asJSON}, {"a.yaml", asYAML}} {
			got, err := readData(e)
			if err != nil || !sameData(want, got) {
				t.Fatalf("%s: %v\n%s\nwant %v\ngot  %v", e.path, err, e.data, want, got)
			}
		}
	})
}

// jsonValues draws a JSON value of at most the given depth.
func jsonValues(depth int) *rapid.Generator[any] {
	scalars := []*rapid.Generator[any]{
		rapid.Just[any](nil),
		rapid.Bool().AsAny(),
		rapid.StringMatching(`[ -~äöü€]{0,12}`).AsAny(),
		rapid.SampledFrom([]string{"yes", "null", "1", "~", "<<", "0x1", "# x", "- a", "a: b"}).AsAny(),
		rapid.Map(rapid.IntRange(-1<<53, 1<<53), func(n int) any { return json.Number(strconv.Itoa(n)) }),
	}
	if depth == 0 {
		return rapid.OneOf(scalars...)
	}
	inner := jsonValues(depth - 1)
	return rapid.OneOf(append(scalars,
		rapid.SliceOfN(inner, 0, 4).AsAny(),
		rapid.MapOfN(rapid.StringMatching(`[a-z<~]{1,6}`), inner, 0, 4).AsAny(),
	)...)
}

// plain is the document with its numbers as YAML's writer wants them.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for k, x := range v {
			out[k] = plain(x)
		}
		return out
	case []any:
		out := []any{}
		for _, x := range v {
			out = append(out, plain(x))
		}
		return out
	case json.Number:
		n, _ := v.Int64()
		return n
	}
	return v
}
