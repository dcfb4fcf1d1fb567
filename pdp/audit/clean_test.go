package audit

import (
	"fmt"
	"strings"
	"testing"
)

// An input is masked each time, whatever inputs were found clean before it.
func TestI6_InputIsMaskedEachTime(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir()})
	input := func(in string) string {
		r := testRecord(1)
		r.Input = []byte(in)
		p, err := l.prepare(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseRecord(p.body)
		if err != nil {
			t.Fatal(err)
		}
		return string(got.Input)
	}
	for range 3 {
		if got := input(`{"label":"a b", "x":[1]}`); got != `{"label":"a b","x":[1]}` {
			t.Errorf("a clean input became %s", got)
		}
		if got := input(`{"label":"mcpg_0123456789"}`); got != `{"label":"[masked]"}` {
			t.Errorf("an input with a token became %s", got)
		}
		if got := input(`{"label":`); !strings.Contains(got, `"truncated":true`) {
			t.Errorf("an input that is not JSON became %s", got)
		}
	}
}

// What is remembered of inputs is bounded, in number and size.
func TestCleanInputsAreBounded(t *testing.T) {
	var c cleanInputs
	for i := range 3 * mostClean {
		in := fmt.Appendf(nil, `{"n":%d}`, i)
		if c.add(in); !c.has(in) || len(c.seen) > mostClean {
			t.Fatalf("input %d: remembered %v, %d in all", i, c.has(in), len(c.seen))
		}
	}
	long := []byte(strings.Repeat("x", cleanInput+1))
	if c.add(long); c.has(long) {
		t.Error("a long input was remembered")
	}
}
