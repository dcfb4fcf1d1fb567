package quotas

import (
	"sync"
	"sync/atomic"
	"testing"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// BenchmarkDecisions asks real decision points over 64 connections, all of which
// count against the same counter, beside calls that count against none. What
// matters is the ratio to those, in the same run.
func BenchmarkDecisions(b *testing.B) {
	for _, s := range []struct {
		name  string
		start func(testing.TB) *replicas
	}{
		{"embedded", func(t testing.TB) *replicas { return startWith(t, 1, nil) }},
		{"PostgreSQL and Redis/1 replica", func(t testing.TB) *replicas { return start(t, 1) }},
		{"PostgreSQL and Redis/3 replicas", func(t testing.TB) *replicas { return start(t, 3) }},
	} {
		b.Run(s.name, func(b *testing.B) {
			r := s.start(b)
			var callers []*caller
			for range connections {
				callers = append(callers, r.caller(b))
			}
			var free float64
			for _, tool := range []string{"free", "count", "amount"} {
				b.Run(tool, func(b *testing.B) {
					rate := decide(b, callers, tool)
					if tool == "free" {
						free = rate
					}
					b.ReportMetric(rate, "decisions/s")
					b.ReportMetric(rate/free, "of-free")
				})
			}
		})
	}
}

// decide asks b.N times and returns how many answers a second there were.
func decide(b *testing.B, callers []*caller, tool string) float64 {
	var next atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	for i, c := range callers {
		all.Go(func() {
			for next.Add(1) <= int64(b.N) {
				res, err := c.ask(b.Context(), i%len(c.conns), tool, `{"amount":0.01}`)
				if err != nil || res.GetEffect() != v1.Effect_EFFECT_ALLOW {
					b.Errorf("%s: %v %v", tool, err, res.GetReason())
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	return float64(b.N) / b.Elapsed().Seconds()
}
