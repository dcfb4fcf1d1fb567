package store_test

import (
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/store"
)

// BenchmarkReserve is one counter that many callers want at once, and one
// caller alone.
func BenchmarkReserve(b *testing.B) {
	for _, callers := range []int{1, 64} {
		for name, window := range map[string][3]string{"sliding": {"1m"}, "rate": {"1m", "", "1000000000"}} {
			b.Run(fmt.Sprintf("%s/callers=%d", name, callers), func(b *testing.B) {
				s, err := store.Open(b.Context(), b.TempDir())
				if err != nil {
					b.Fatal(err)
				}
				defer s.Close()
				l := quota.NewLedger(quota.Options{Amounts: s})
				limits := spending("0.99")
				limits[0].Limit, _ = quota.ParseAmount("1000000000000")
				limits[0].Window, _ = quota.ParseWindow(window[0], window[1], window[2])
				var n atomic.Int64
				b.SetParallelism((callers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
				b.ResetTimer()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						id := fmt.Sprintf("decision-%d", n.Add(1))
						if _, err := l.Reserve(b.Context(), id, time.Now(), limits); err != nil {
							b.Error(err)
						}
					}
				})
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "reserved/s")
			})
		}
	}
}
