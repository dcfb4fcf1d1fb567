package store_test

import (
	"testing"

	"github.com/mcpermit/mcpermit/pdp/store/storetest"
)

func TestSQLiteQuotas(t *testing.T) {
	storetest.RunQuota(t, func(t *testing.T) storetest.QuotaDatabase {
		dir := t.TempDir()
		return func(t *testing.T) storetest.QuotaStore {
			t.Helper()
			return open(t, dir)
		}
	})
}
