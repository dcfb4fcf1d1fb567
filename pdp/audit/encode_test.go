package audit

import (
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"pgregory.net/rapid"
)

var (
	anyText = rapid.OneOf(
		rapid.Just(""), rapid.StringMatching(`[a-z0-9_./:-]{1,20}`), rapid.String(),
		rapid.SampledFrom([]string{"\"", "\\", "<b>&", "\u2028\u2029", "\x00\x1f\x7f\b\f\n\r\t", "é\U0001F600", "[masked]", "\xff"}),
	)
	anyTime = rapid.Custom(func(t *rapid.T) time.Time {
		at := time.Unix(rapid.Int64Range(-70_000_000_000, 300_000_000_000).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns")).UTC()
		return rapid.SampledFrom([]time.Time{{}, at, at.Truncate(time.Second), at.In(time.FixedZone("", 3600))}).Draw(t, "time")
	})
	anyRaw = rapid.SampledFrom([]jsontext.Value{
		nil,
		{},
		[]byte("1"), []byte(`{"a":[1.50,1e400,-0],"a":"\u0061\/\"\\"}`), []byte(" { \"a b\" :\t[ 1 ,\r\n2 ] , \"\\\\\" : \" \\\" \" } "),
		[]byte(`"x"`), []byte("nul"), []byte(`{"a":1}x`), []byte("\"\xff\""), []byte(`null`),
	})
)

// fill draws every member that is written.
func fill(t *rapid.T, v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		*p = anyTime.Draw(t, "time")
		return
	case *jsontext.Value:
		*p = anyRaw.Draw(t, "raw")
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(anyText.Draw(t, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(t, "bool"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.SampledFrom([]int64{0, 1, -5, math.MaxInt64, math.MinInt64}).Draw(t, "int"))
	case reflect.Uint64:
		v.SetUint(rapid.SampledFrom([]uint64{0, 7, math.MaxUint64}).Draw(t, "uint"))
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "there") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(t, v.Elem())
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 3).Draw(t, "len"); n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
		}
		for i := range v.Len() {
			fill(t, v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			fill(t, v.Field(i))
		}
	default:
		t.Fatalf("%v is new here", v.Type())
	}
}

// What is written by hand is what the struct tags say, byte by byte; what cannot be
// written is left to who can.
func TestEncodingIsThatOfTheTags(t *testing.T) {
	fast := 0
	rapid.Check(t, func(rt *rapid.T) {
		var r Record
		fill(rt, reflect.ValueOf(&r).Elem())
		if rapid.Bool().Draw(rt, "tame") {
			tame(reflect.ValueOf(&r).Elem())
		}
		want, wantErr := json.Marshal(&r, encoding)
		if got, ok := writeObject(false, func(o *object) { o.record(&r) }); ok {
			fast++
			if wantErr != nil || string(got) != string(want) {
				rt.Fatalf("wrote\n%s\nwant\n%s, %v", got, want, wantErr)
			}
		}
		if got, err := r.JSON(); (err == nil) != (wantErr == nil) || err == nil && string(got) != string(want) {
			rt.Fatalf("JSON:\n%s, %v\nwant\n%s, %v", got, err, want, wantErr)
		}

		var n note
		fill(rt, reflect.ValueOf(&n).Elem())
		tame(reflect.ValueOf(&n).Elem())
		want, wantErr = json.Marshal(&n, encoding)
		if got := n.encode(); wantErr != nil || string(got) != string(want) {
			rt.Fatalf("wrote\n%s\nwant\n%s, %v", got, want, wantErr)
		}
	})
	if fast == 0 {
		t.Error("none of the records was written by hand")
	}
}

// tame makes v one that can be written.
func tame(v reflect.Value) {
	switch p := v.Addr().Interface().(type) {
	case *time.Time:
		if p.Year() < 0 || p.Year() > 9999 {
			*p = time.Time{}
		}
		*p = p.UTC()
		return
	case *jsontext.Value:
		if !p.IsValid(encoding) {
			*p = nil
		}
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(valid(v.String()))
	case reflect.Pointer:
		if !v.IsNil() {
			tame(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			tame(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			tame(v.Field(i))
		}
	}
}

// The head file's slots stay as earlier versions have written them.
func TestHeadSlotFormat(t *testing.T) {
	for _, c := range []chain{{hash: genesis}, {7, hashOf([]byte("x"))}, {math.MaxUint64, hashOf(nil)}} {
		sum := hashOf(fmt.Appendf(nil, "%d %s", c.seq, c.hash))
		want := fmt.Sprintf("%-511s\n", fmt.Sprintf(`{"seq":%d,"hash":"%s","sum":"%s"}`, c.seq, c.hash, sum[:32]))
		if got := string(appendSlot([]byte("before"), c)); got != "before"+want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// JSON that is known to be valid loses its white space as it does when it is checked.
func TestTightJSON(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		v := anyRaw.Filter(func(v jsontext.Value) bool { return v.IsValid(encoding) }).Draw(rt, "value")
		if rapid.Bool().Draw(rt, "indent") {
			v = v.Clone()
			if err := v.Indent(); err != nil {
				rt.Fatal(err)
			}
		}
		want, err := jsontext.AppendFormat(nil, v, encoding)
		if got := appendTight(nil, v); err != nil || string(got) != string(want) {
			rt.Fatalf("%s: %s, want %s, %v", v, got, want, err)
		}
	})
}

// Arguments that are nested as deep as a reader takes them are refused rather than
// written into a line that no reader takes.
func TestDeepArguments(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir(), ArgumentBytes: 1 << 20})
	for _, depth := range []int{100, deep, deep + 1, 9_999, 10_000, 20_000} {
		r := testRecord(1)
		r.Arguments = []byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))
		p, err := l.prepare(r)
		if err != nil {
			continue
		}
		if _, err := ParseRecord(p.body); err != nil {
			t.Errorf("depth %d: %v", depth, err)
		}
	}
}
