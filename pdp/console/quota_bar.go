package console

import (
	"math/big"
	"time"
)

// quotaBar is how far a quota is used.
type quotaBar struct {
	Name, Used, Limit string
	Percent           int // 0 to 100; more is used than the limit: 100
	Full              bool
	Reset             time.Time
}

// newQuotaBar takes exact decimals; what is none has an empty bar.
func newQuotaBar(name, used, limit string, reset time.Time) quotaBar {
	b := quotaBar{Name: name, Used: used, Limit: limit, Reset: reset}
	u, okU := new(big.Rat).SetString(used)
	l, okL := new(big.Rat).SetString(limit)
	switch {
	case !okU || !okL:
	case u.Cmp(l) >= 0:
		b.Percent, b.Full = 100, true
	default:
		share := new(big.Rat).Quo(u, l)
		percent, _ := share.Mul(share, big.NewRat(100, 1)).Float64()
		b.Percent = int(percent)
	}
	return b
}
