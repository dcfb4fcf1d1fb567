package store_test

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/store"
)

// spenders is how many calls of the child are under way at a time.
const spenders = 8

func spending(cost string) []quota.Limit {
	limit, _ := quota.ParseAmount("1000000")
	amount, _ := quota.ParseAmount(cost)
	window, _ := quota.ParseWindow("24h", "", "")
	return []quota.Limit{{Name: "refunds", Limit: limit, Cost: amount, Window: window}}
}

// spend reserves without end, gives some of it back, and says so of each when
// the ledger has answered. What it says ends in the cost.
func spend(dir string) error {
	ctx := context.Background()
	s, err := store.Open(ctx, dir)
	if err != nil {
		return err
	}
	l := quota.NewLedger(quota.Options{Amounts: s})
	failed := make(chan error)
	for range spenders {
		go func() {
			for {
				cost := []string{"0.99", "1", "250.5"}[rand.IntN(3)]
				id := fmt.Sprintf("%x:%s", rand.Uint64(), cost)
				if _, err := l.Reserve(ctx, id, time.Now(), spending(cost)); err != nil {
					failed <- err
				}
				fmt.Fprintln(os.Stdout, "spent", id)
				if rand.IntN(4) > 0 {
					continue
				}
				fmt.Fprintln(os.Stdout, "returning", id)
				if err := l.Release(ctx, id); err != nil {
					failed <- err
				}
				fmt.Fprintln(os.Stdout, "returned", id)
			}
		}()
	}
	return <-failed
}

// Whatever was answered before a kill counts after it: what was spent is used,
// what was given back is not. In between lies only what was under way.
func TestI7_NoAnsweredReservationIsLostInAKill(t *testing.T) {
	dir := t.TempDir()
	said := map[string]string{}
	unknown := new(big.Rat) // what the rounds before may have spent without saying so
	for round := range 8 {
		killAfter(t, dir, 10+round*40, said, spendEnv)
		s, err := store.Open(t.Context(), dir)
		if err != nil {
			t.Fatalf("round %d: open after the kill: %v", round, err)
		}
		least, most := new(big.Rat), new(big.Rat)
		var spent, returned []string
		for id, last := range said {
			_, text, _ := strings.Cut(id, ":")
			cost, _ := new(big.Rat).SetString(text)
			switch last {
			case "spent":
				spent = append(spent, id)
				least.Add(least, cost)
				most.Add(most, cost)
			case "returning":
				most.Add(most, cost)
			case "returned":
				returned = append(returned, id)
			}
		}
		unknown.Add(unknown, big.NewRat(spenders*2505, 10))
		most.Add(most, unknown)
		l := quota.NewLedger(quota.Options{Amounts: s})
		uses, err := l.Peek(t.Context(), time.Now(), spending("0"))
		if err != nil {
			t.Fatal(err)
		}
		used, _ := new(big.Rat).SetString(uses[0].Used.String())
		if used.Cmp(least) < 0 || used.Cmp(most) > 0 {
			t.Errorf("round %d: %v used, want from %s to %s", round, uses[0].Used, least.FloatString(2), most.FloatString(2))
		}
		there, err := s.Reservations(t.Context(), spent)
		if err != nil || len(there) != len(spent) {
			t.Errorf("round %d: %d of %d reservations are there, %v", round, len(there), len(spent), err)
		}
		if gone, err := s.Reservations(t.Context(), returned); err != nil || len(gone) != 0 {
			t.Errorf("round %d: %d reservations are there again, %v", round, len(gone), err)
		}
		closed(t, s)
	}
	if len(said) < 200 {
		t.Errorf("only %d reservations were answered", len(said))
	}
}
