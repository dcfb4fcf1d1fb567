package store

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/redis/rueidis"

	"github.com/mcpermit/mcpermit/pdp/quota"
)

// Redis keeps quotas in a Redis (6.2 or newer) or Valkey, alone or a cluster,
// in a database of their own. It is safe for concurrent use, also by several
// decision points.
//
// What it has counted is as durable as the server makes it, which is less than
// a database: with appendfsync everysec a crash may take the last second, and a
// failover to a replica, to which writes go later, whatever had not arrived. A
// server that evicts keys when its memory is full (any maxmemory-policy but
// noeviction) forgets counters. All of these allow calls that a quota should
// have refused. So this store is for quotas that count calls; amounts belong
// into PostgreSQL, where an answered commit stays.
//
// A server that is away makes every method fail, soon and within the caller's
// context; once it is back they work again.
type Redis struct {
	client rueidis.Client
}

var _ quota.Store = (*Redis)(nil)

// OpenRedis connects to a redis:// or rediss:// URL: its path is the number of
// the database, its parameters are those of rueidis.ParseURL.
func OpenRedis(ctx context.Context, url string) (*Redis, error) {
	option, err := redisOption(url)
	if err != nil {
		return nil, err
	}
	client, err := rueidis.NewClient(option)
	if err != nil {
		return nil, fmt.Errorf("connect to Redis: %w", err)
	}
	s := &Redis{client}
	if err := client.Do(ctx, client.B().Ping().Build()).Error(); err != nil {
		return nil, errors.Join(fmt.Errorf("connect to Redis: %w", err), s.Close())
	}
	return s, nil
}

func redisOption(url string) (rueidis.ClientOption, error) {
	if !strings.HasPrefix(url, "redis://") && !strings.HasPrefix(url, "rediss://") {
		return rueidis.ClientOption{}, errors.New("the address of Redis: want redis:// or rediss://")
	}
	option, err := rueidis.ParseURL(url)
	if err != nil {
		// The error may quote the URL, and that holds a password.
		return rueidis.ClientOption{}, errors.New("the address of Redis can't be read: want redis://user:password@host:port/0")
	}
	// Every answer must be the server's own. A caller that is told soon denies
	// soon; what it asked is not asked again behind its back.
	option.DisableCache, option.DisableRetry = true, true
	option.Dialer.Timeout = patience
	option.ClientName = "mcpermit"
	return option, nil
}

// Close ends the use of the store. Calls that are under way may fail.
func (s *Redis) Close() error {
	s.client.Close()
	return nil
}
