package mcp

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestI2_CheckLine(t *testing.T) {
	for _, c := range []struct {
		line string
		at   int
	}{
		{call(`{}`), -1},
		{" \t" + call(`{}`) + " ", -1},
		{call("{\"a\":\"\u2028\u0085\"}"), -1}, // not a line end on stdio; Line escapes it towards a child
		{call(`{}`) + "\r", len(call(`{}`))},
		{"\n" + call(`{}`), 0},
		{call(`{}`) + "\r" + call(`{}`), len(call(`{}`))},
	} {
		fault := CheckLine([]byte(c.line))
		switch {
		case c.at < 0 && fault != nil:
			t.Errorf("%q: %v", c.line, fault)
		case c.at >= 0 && (fault == nil || fault.Rule != RuleLineBreak || fault.Offset != c.at):
			t.Errorf("%q: %v, want a fault at %d", c.line, fault, c.at)
		}
	}
	if fault := CheckLine([]byte("{\"id\":7}\r")); string(fault.ID) != "7" {
		t.Errorf("id %q", fault.ID)
	}
}

func TestI2_LineIsTheSameMessage(t *testing.T) {
	for _, frame := range []string{
		call(`{}`),
		"\r\n{\n\t\"jsonrpc\": \"2.0\",\r\n\"id\":1,\n\"method\":\"ping\"\n}\n",
		call("{\"a\":\"x\u2028y\u2029z\u0085\",\"\u2028\":\"\\u2028 \u00a0 \u2027 \u202a Â \xe2\x80\x8b\"}"),
	} {
		line := Line([]byte(frame))
		if bytes.ContainsAny(line, "\r\n\u0085\u2028\u2029") {
			t.Errorf("%q has a line end", line)
		}
		var want, got any
		if err := json.Unmarshal([]byte(frame), &want); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(line, &got); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	plain := []byte(call(`{}`))
	if line := Line(plain); &line[0] != &plain[0] {
		t.Error("a frame without line ends was copied")
	}
}
