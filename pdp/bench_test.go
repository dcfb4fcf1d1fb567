package pdp_test

import (
	"fmt"
	"testing"
)

func BenchmarkDecide(b *testing.B) {
	p := newPoint(b)
	req := p.call("create_refund", `{"amount":5000}`)
	req.Target.Definition = []byte(refundTool)
	for b.Loop() {
		if _, err := p.Decide(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkDecideList(b *testing.B) {
	p := newPoint(b)
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("tool_%d", i))
	}
	names[3] = "create_refund"
	req := p.listing(names...)
	for b.Loop() {
		if _, err := p.DecideList(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}
