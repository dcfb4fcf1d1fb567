package store_test

import (
	"testing"

	"github.com/mcpermit/mcpermit/pdp/store"
	"github.com/mcpermit/mcpermit/pdp/store/storetest"
	"github.com/mcpermit/mcpermit/test/databases"
)

func TestPostgres(t *testing.T) {
	server := databases.Postgres(t)
	storetest.Run(t, func(t *testing.T) storetest.Database {
		url := server.Database(t)
		return func(t *testing.T) storetest.Store {
			t.Helper()
			return openPostgres(t, url)
		}
	})
}

func openPostgres(t *testing.T, url string) *store.Postgres {
	t.Helper()
	s, err := store.OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestPostgresQuotas(t *testing.T) {
	server := databases.Postgres(t)
	storetest.RunQuota(t, func(t *testing.T) storetest.QuotaDatabase {
		url := server.Database(t)
		return func(t *testing.T) storetest.QuotaStore {
			t.Helper()
			return openPostgres(t, url)
		}
	})
}

func TestRedisQuotas(t *testing.T) {
	storetest.RunQuota(t, func(t *testing.T) storetest.QuotaDatabase {
		server := databases.Redis(t)
		return func(t *testing.T) storetest.QuotaStore {
			t.Helper()
			s, err := store.OpenRedis(t.Context(), server.URL())
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
	})
}
