package pdp_test

import (
	"context"
	"fmt"
	"testing"
	"time"
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

// BenchmarkDecideInTime asks as enforcement points do, who wait for so long.
func BenchmarkDecideInTime(b *testing.B) {
	p := newPoint(b)
	req := p.call("create_refund", `{"amount":5000}`)
	req.Target.Definition = []byte(refundTool)
	for b.Loop() {
		ctx, cancel := context.WithTimeout(b.Context(), 250*time.Millisecond)
		if _, err := p.Decide(ctx, req); err != nil {
			b.Fatal(err)
		}
		cancel()
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
