package store_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/rueidis"

	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/store"
	"github.com/mcpermit/mcpermit/pdp/store/storetest"
	"github.com/mcpermit/mcpermit/test/databases"
)

func TestRedis(t *testing.T) {
	server := databases.Redis(t)
	for _, protocol := range []string{"2", "3"} {
		t.Run("RESP"+protocol, func(t *testing.T) {
			storetest.RunQuota(t, func(t *testing.T) storetest.QuotaDatabase {
				emptied(t, server)
				return redisDatabase(server.URL() + "?protocol=" + protocol)
			})
		})
	}
}

// A cluster refuses a script whose keys are not all in one slot.
func TestRedisCluster(t *testing.T) {
	server := databases.Redis(t, "--cluster-enabled", "yes")
	c := client(t, server)
	slots := make([]string, 16384)
	for i := range slots {
		slots[i] = strconv.Itoa(i)
	}
	if err := c.Do(t.Context(), c.B().Arbitrary("CLUSTER", "ADDSLOTS").Args(slots...).Build()).Error(); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		info, err := c.Do(t.Context(), c.B().ClusterInfo().Build()).ToString()
		if err == nil && strings.Contains(info, "cluster_state:ok") {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the cluster does not come up: %s %v", info, err)
		}
	}
	storetest.RunQuota(t, func(t *testing.T) storetest.QuotaDatabase {
		emptied(t, server)
		return redisDatabase(server.URL())
	})
}

func redisDatabase(url string) storetest.QuotaDatabase {
	return func(t *testing.T) storetest.QuotaStore {
		t.Helper()
		s, err := store.OpenRedis(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

func client(t *testing.T, server *databases.RedisServer) rueidis.Client {
	t.Helper()
	option, err := rueidis.ParseURL(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	option.ForceSingleClient = true
	c, err := rueidis.NewClient(option)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func emptied(t *testing.T, server *databases.RedisServer) {
	t.Helper()
	c := client(t, server)
	if err := c.Do(t.Context(), c.B().Flushall().Build()).Error(); err != nil {
		t.Fatal(err)
	}
}

// Whatever is kept goes by itself when it is of no use any more, but for the
// index, from which it is taken out in passing.
func TestRedisForgets(t *testing.T) {
	server := databases.Redis(t)
	s, err := store.OpenRedis(t.Context(), server.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	now := time.Now().UTC()
	update := func(now time.Time, id string, life time.Duration) {
		t.Helper()
		err := s.Update(t.Context(), now, quota.Keys{Counters: []string{id}}, func(quota.Loaded) quota.Changes {
			return quota.Changes{
				Counters:     []quota.Counter{{ID: id, Quota: "q", Terms: "{}", State: []byte("s"), UpdatedAt: now, ExpiresAt: now.Add(life)}},
				Reservations: []quota.Reservation{{ID: "of " + id, Holds: "[]", ExpiresAt: now.Add(life)}},
			}
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"a", "b", "c"} {
		update(now, id, time.Hour)
	}
	c := client(t, server)
	keys, err := c.Do(t.Context(), c.B().Keys().Pattern("*").Build()).AsStrSlice()
	if err != nil || len(keys) != 8 {
		t.Fatalf("keys %q, %v", keys, err)
	}
	for _, key := range keys {
		left, err := c.Do(t.Context(), c.B().Pttl().Key(key).Build()).AsInt64()
		if err != nil {
			t.Fatal(err)
		}
		isIndex := strings.HasSuffix(key, ":index") || strings.HasSuffix(key, ":expiries")
		if hour := time.Hour.Milliseconds(); !isIndex && (left <= 0 || left > hour) || !strings.HasPrefix(key, "{mcpermit}:") {
			t.Errorf("%s has %d ms to live", key, left)
		}
	}
	update(now.Add(2*time.Hour), "d", time.Hour)
	for _, key := range []string{"{mcpermit}:quota:index", "{mcpermit}:quota:expiries"} {
		if n, err := c.Do(t.Context(), c.B().Zcard().Key(key).Build()).AsInt64(); err != nil || n != 1 {
			t.Errorf("%s has %d members, %v; want the one that has not expired", key, n, err)
		}
	}
}
