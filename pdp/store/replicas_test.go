package store_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
	"github.com/mcpermit/mcpermit/pdp/catalog"
	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/store"
	"github.com/mcpermit/mcpermit/test/databases"
)

// TestI8_ReplicasOpenACallOnce has decision points, each with a connection that
// is there already, open approvals at the same time.
func TestI8_ReplicasOpenACallOnce(t *testing.T) {
	address := databases.Postgres(t, "-c", "fsync=off").Database(t)
	const replicas, rounds, maxPending = 8, 20, 3
	var stores []*store.Postgres
	for range replicas {
		s := openPostgres(t, address)
		defer s.Close()
		stores = append(stores, s)
	}
	call := func(id, grant, name string) approval.Approval {
		now := time.Now().UTC().Truncate(time.Microsecond)
		return approval.Approval{
			ID: id, State: approval.Pending, Subject: approval.Subject{ID: "ada", Type: "person"}, GrantID: grant, Name: name,
			ArgumentsDigest: sha256.Sum256([]byte(name)), CreatedAt: now, ExpiresAt: now.Add(time.Hour),
		}
	}
	for round := range rounds {
		var ids [replicas]string
		grant := fmt.Sprint("one ", round)
		err := together(replicas, func(i int) error {
			a, err := stores[i].OpenApproval(t.Context(), call(fmt.Sprint("s", round, "-", i), grant, "same"), 100)
			ids[i] = a.ID
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("one call waits several times: %q", ids)
			}
		}
		var opened atomic.Int32
		grant = fmt.Sprint("many ", round)
		err = together(replicas, func(i int) error {
			_, err := stores[i].OpenApproval(t.Context(), call(fmt.Sprint("m", round, "-", i), grant, fmt.Sprint(i)), maxPending)
			if errors.Is(err, approval.ErrTooManyPending) {
				return nil
			}
			opened.Add(1)
			return err
		})
		if err != nil || opened.Load() != maxPending {
			t.Fatalf("%d calls wait, %v; want %d", opened.Load(), err, maxPending)
		}
	}
}

// TestI7_AmountsAreExactOverManyConnections changes two of a few counters at a
// time, in any order, from many connections of several pools. Every change
// counts, also the first ones, of counters that are not there yet.
func TestI7_AmountsAreExactOverManyConnections(t *testing.T) {
	address := databases.Postgres(t, "-c", "fsync=off").Database(t) + "&pool_max_conns=16"
	const pools, users, each, counters = 3, 48, 15, 6
	var stores []*store.Postgres
	for range pools {
		s := openPostgres(t, address)
		defer s.Close()
		stores = append(stores, s)
	}
	var want [counters]atomic.Int64
	err := together(users, func(u int) error {
		random := rand.New(rand.NewPCG(uint64(u), 1))
		for range each {
			first := random.IntN(counters)
			second := (first + 1 + random.IntN(counters-1)) % counters
			cents := map[string]int64{fmt.Sprint(first): random.Int64N(1000), fmt.Sprint(second): random.Int64N(1000)}
			if err := addCents(t.Context(), stores[u%pools], []string{fmt.Sprint(first), fmt.Sprint(second)}, cents); err != nil {
				return err
			}
			want[first].Add(cents[fmt.Sprint(first)])
			want[second].Add(cents[fmt.Sprint(second)])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range counters {
		list, err := stores[0].Counters(t.Context(), []string{fmt.Sprint(i)})
		if err != nil || len(list) != 1 || string(list[0].State) != fmt.Sprint(want[i].Load()) {
			t.Errorf("counter %d: %v, %v; want %d", i, list, err, want[i].Load())
		}
	}
}

// addCents adds to counters that are kept as numbers of cents.
func addCents(ctx context.Context, s quota.Store, ids []string, cents map[string]int64) error {
	now := time.Now().UTC()
	return s.Update(ctx, now, quota.Keys{Counters: ids}, func(l quota.Loaded) (c quota.Changes) {
		for _, id := range ids {
			used, _ := strconv.ParseInt(string(l.Counters[id].State), 10, 64) // "" is 0
			c.Counters = append(c.Counters, quota.Counter{
				ID: id, Quota: "q", Terms: "{}", State: strconv.AppendInt(nil, used+cents[id], 10), UpdatedAt: now, ExpiresAt: now.Add(time.Hour),
			})
		}
		return c
	})
}

// Each change of the catalog is seen in its version, and a listing that says
// nothing new is no change.
func TestCatalogVersion(t *testing.T) {
	s := openPostgres(t, databases.Postgres(t, "-c", "fsync=off").Database(t))
	defer s.Close()
	now := time.Now()
	last := int64(-1)
	for _, c := range []struct {
		what   string
		change bool
		do     func() error
	}{
		{"nothing yet", true, func() error { return nil }},
		{"a listing", true, func() error {
			return s.SaveListing(t.Context(), "s", now, []catalog.Listed{{Server: "s", Name: "x", Definition: []byte("{}")}}, nil)
		}},
		{"the same listing", false, func() error { return s.SaveListing(t.Context(), "s", now, nil, nil) }},
		{"a tool that is gone", true, func() error { return s.SaveListing(t.Context(), "s", now, nil, []string{"x"}) }},
		{"pins", true, func() error {
			return s.SavePins(t.Context(), []catalog.Pin{{Server: "s", Name: "x", Definition: []byte("{}")}})
		}},
		{"classes", true, func() error {
			return s.SaveOverrides(t.Context(), []catalog.Classification{{Server: "s", Tool: "x", Class: "read"}})
		}},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		version, err := s.CatalogVersion(t.Context())
		if err != nil || (version != last) != c.change {
			t.Errorf("%s: version %d after %d, %v", c.what, version, last, err)
		}
		last = version
	}
}
