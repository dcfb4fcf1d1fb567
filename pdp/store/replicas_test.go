package store_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/approval"
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
