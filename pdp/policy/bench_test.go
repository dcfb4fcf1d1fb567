package policy

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// manyRules is a policy with n rules about n/4 tools of the server s.
func manyRules(n int) string {
	var b strings.Builder
	b.WriteString("package policy.servers.s\n")
	for i := range n / 4 {
		fmt.Fprintf(&b, `
deny contains "over" if {
	input.tool.name == "tool%[1]d"
	input.arguments.amount > 1000
}

allow contains "within" if {
	input.tool.name == "tool%[1]d"
	input.arguments.amount <= 1000
}

approve contains "large" if {
	input.tool.name in {"tool%[1]d", "other%[1]d"}
	input.arguments.amount > 500
}

hide contains "not for agents" if {
	input.tool.name == "tool%[1]d"
	input.subject.type == "agent"
}
`, i)
	}
	return b.String()
}

func callOf(tool string, arguments string) *Input {
	return &Input{
		Subject:   Subject{ID: "ann", Type: "person", Groups: []string{"staff"}, Claims: jsontext.Value(`{"iss":"https://idp.example"}`)},
		Grant:     &Grant{ID: "g1", Labels: map[string]string{"team": "pay"}, Servers: []string{"s"}, Tools: []string{"*"}},
		Client:    Client{Name: "client", Version: "1"},
		Server:    Server{Name: "s", Labels: map[string]string{"env": "prod"}},
		Method:    "tools/call",
		Tool:      &Tool{Name: tool, Class: "financial", Risk: "critical", Pinned: "match"},
		Arguments: []byte(arguments),
		Context:   Context{Time: time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), Transport: "http", ProtocolVersion: "2026-07-28", Direction: "to_server"},
	}
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{40, 10000} {
		s := mustBuild(b, bundleOf(nil, map[string]string{"policy/servers/s.rego": manyRules(n)}), Options{Deadline: time.Minute})
		in := callOf("tool7", `{"amount":100,"note":"a small refund","id":"ch_105"}`)
		b.Run(fmt.Sprintf("rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if r := s.Decide(context.Background(), in); r.Effect != Allow {
					b.Fatal(r)
				}
			}
		})
		b.Run(fmt.Sprintf("evaluate/rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			input, _ := in.term(s.reads)
			for b.Loop() {
				ev := &evaluation{evaluator: &s.evaluator}
				ev.on(input)
				if _, err := s.decide(ev, s.courseOf(in)); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("list/rules=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if !isListed(b, s, in, Item{Tool: in.Tool}) {
					b.Fatal("not listed")
				}
			}
		})
	}
}

func BenchmarkInput(b *testing.B) {
	for _, size := range []int{1, 64} {
		in := callOf("tool7", `{"amount":100,"items":[`+strings.Repeat(`{"name":"abc","value":12345,"tags":["x","y"]},`, size*22)+`0]}`)
		b.Run(fmt.Sprintf("%dKiB", len(in.Arguments)>>10), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := in.term(readEverything); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
