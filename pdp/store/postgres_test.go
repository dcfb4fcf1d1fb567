package store_test

import (
	"testing"

	"github.com/mcpermit/mcpermit/pdp/store"
	"github.com/mcpermit/mcpermit/pdp/store/storetest"
	"github.com/mcpermit/mcpermit/test/databases"
)

func TestPostgres(t *testing.T) {
	server := databases.Postgres(t, "-c", "fsync=off")
	storetest.Run(t, func(t *testing.T) storetest.Database {
		url := server.Database(t)
		return func(t *testing.T) storetest.Store {
			t.Helper()
			return openPostgres(t, url)
		}
	})
	// As behind a pooler that gives each transaction another connection.
	for _, mode := range []string{"cache_statement", "exec"} {
		t.Run(mode, func(t *testing.T) {
			storetest.RunQuota(t, func(t *testing.T) storetest.QuotaDatabase {
				url := server.Database(t) + "&default_query_exec_mode=" + mode
				return func(t *testing.T) storetest.QuotaStore {
					t.Helper()
					return openPostgres(t, url)
				}
			})
		})
	}
}

func openPostgres(t *testing.T, url string) *store.Postgres {
	t.Helper()
	s, err := store.OpenPostgres(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	return s
}
