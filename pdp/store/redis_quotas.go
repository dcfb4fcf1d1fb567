package store

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	"github.com/mcpermit/mcpermit/pdp/quota"
)

// All keys carry one hash tag, so that a cluster keeps them on one node, where
// one script can change several.
const (
	redisCounter     = "{mcpermit}:quota:counter:"
	redisReservation = "{mcpermit}:quota:reservation:"
	// The index orders the counters by quota and id; the expiries say when a
	// member of the index is of no use any more.
	redisIndex    = "{mcpermit}:quota:index"
	redisExpiries = "{mcpermit}:quota:expiries"
)

//go:embed redis_quotas.lua
var redisUpdate string

var redisScript = rueidis.NewLuaScript(redisUpdate)

// storedCounter is a counter as it is kept, and storedReservation a reservation.
type storedCounter struct {
	Quota     string            `json:"quota"`
	Per       map[string]string `json:"per"`
	Terms     string            `json:"terms"`
	State     []byte            `json:"state"`
	UpdatedAt int64             `json:"updated_at"`
	ExpiresAt int64             `json:"expires_at"`
}

type storedReservation struct {
	Holds     string `json:"holds"`
	ExpiresAt int64  `json:"expires_at"`
}

// Update implements quota.Store. What f made is stored by one script, which
// first compares everything that f was shown with what there is by then. If
// something is different, f is shown that.
func (s *Redis) Update(ctx context.Context, now time.Time, keys quota.Keys, f func(quota.Loaded) quota.Changes) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	u := redisChange{now: now, keys: []string{redisIndex, redisExpiries}, numbers: map[string]int{}}
	for _, id := range keys.Counters {
		u.number(redisCounter + id)
	}
	for _, id := range keys.Reservations {
		u.number(redisReservation + id)
	}
	present, err := s.values(ctx, u.keys[2:])
	for try := 0; err == nil; try++ {
		var loaded quota.Loaded
		if loaded, err = decodeLoaded(keys, present); err != nil {
			return err
		}
		attempt := u.with(present)
		if err := attempt.changes(f(loaded)); err != nil {
			return err
		}
		var stored bool
		if stored, present, err = s.compareAndSet(ctx, attempt); stored {
			return nil
		}
		if err == nil && try > 2 {
			err = pause(ctx, try) // too many at it: let some pass
		}
	}
	return fmt.Errorf("quotas in Redis: %w", err)
}

func pause(ctx context.Context, try int) error {
	most := time.Duration(min(try, 20)) * time.Millisecond
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(rand.N(most)):
		return nil
	}
}

// values returns what the keys hold, as of one moment; "" is nothing.
func (s *Redis) values(ctx context.Context, keys []string) ([]string, error) {
	if len(keys) == 0 {
		return nil, ctx.Err()
	}
	return texts(s.client.Do(ctx, s.client.B().Mget().Key(keys...).Build()))
}

func texts(result rueidis.RedisResult) ([]string, error) {
	messages, err := result.ToArray()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(messages))
	for i := range messages {
		if messages[i].IsNil() {
			continue
		}
		if out[i], err = messages[i].ToString(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (s *Redis) compareAndSet(ctx context.Context, c *redisChange) (stored bool, present []string, err error) {
	result := redisScript.Exec(ctx, s.client, c.keys, c.args)
	if _, err := result.AsInt64(); err == nil {
		return true, nil, nil
	}
	present, err = texts(result)
	return false, present, err
}

// redisChange gathers the keys and arguments of the script.
type redisChange struct {
	now     time.Time
	keys    []string
	numbers map[string]int // of the keys after the first two
	args    []string
}

func (c *redisChange) number(key string) int {
	n, ok := c.numbers[key]
	if !ok {
		c.keys = append(c.keys, key)
		n = len(c.keys) - 2
		c.numbers[key] = n
	}
	return n
}

// with begins an attempt that holds only if the keys have these values.
func (c *redisChange) with(present []string) *redisChange {
	attempt := redisChange{now: c.now, keys: slices.Clone(c.keys), numbers: map[string]int{}}
	for key, n := range c.numbers {
		attempt.numbers[key] = n
	}
	attempt.args = append([]string{millis(c.now), "", strconv.Itoa(len(present))}, present...)
	return &attempt
}

func (c *redisChange) changes(changes quota.Changes) error {
	c.args[1] = strconv.Itoa(2*len(changes.Counters) + 16) // pruned: more than are added
	for i := range changes.Counters {
		n := &changes.Counters[i]
		value, err := json.Marshal(storedCounter{n.Quota, partsColumn(n.Per), n.Terms, n.State, toMicros(n.UpdatedAt), toMicros(n.ExpiresAt)})
		if err != nil {
			return err
		}
		c.add("set", redisCounter+n.ID, string(value), c.life(n.ExpiresAt), member(n.Quota, n.ID), millis(n.ExpiresAt))
	}
	for _, r := range changes.Reservations {
		value, err := json.Marshal(storedReservation{r.Holds, toMicros(r.ExpiresAt)})
		if err != nil {
			return err
		}
		c.add("new", redisReservation+r.ID, string(value), c.life(r.ExpiresAt), "", "")
	}
	for _, id := range changes.Released {
		c.add("del", redisReservation+id, "", "", "", "")
	}
	return nil
}

func (c *redisChange) add(change, key string, rest ...string) {
	c.args = append(c.args, change, strconv.Itoa(c.number(key)))
	c.args = append(c.args, rest...)
}

// life is counted from the caller's now and not by the server's clock: those of
// two machines need not agree.
func (c *redisChange) life(expires time.Time) string {
	return strconv.FormatInt(max(1, expires.Sub(c.now).Milliseconds()), 10)
}

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

// member orders by quota and then by id, whatever bytes a quota's name has.
func member(quotaName, id string) string {
	return strings.ReplaceAll(quotaName, "\x00", "\x00\xff") + "\x00" + id
}

// idOf is the id in a member: after the first zero byte that is none of the
// name's.
func idOf(member string) string {
	for i := range len(member) {
		if member[i] == 0 && !strings.HasPrefix(member[i+1:], "\xff") {
			return member[i+1:]
		}
	}
	return ""
}

func decodeLoaded(keys quota.Keys, values []string) (quota.Loaded, error) {
	counters, err := decodeCounters(keys.Counters, values[:len(keys.Counters)])
	loaded := quota.Loaded{Counters: make(map[string]quota.Counter, len(counters)), Reservations: map[string]quota.Reservation{}}
	if err != nil {
		return loaded, err
	}
	for _, c := range counters {
		loaded.Counters[c.ID] = c
	}
	reservations, err := decodeReservations(keys.Reservations, values[len(keys.Counters):])
	for _, r := range reservations {
		loaded.Reservations[r.ID] = r
	}
	return loaded, err
}

func decodeCounters(ids, values []string) ([]quota.Counter, error) {
	var list []quota.Counter
	for i, id := range ids {
		if values[i] == "" {
			continue
		}
		var c storedCounter
		if err := json.Unmarshal([]byte(values[i]), &c); err != nil {
			return nil, fmt.Errorf("read a quota counter: %w", err)
		}
		list = append(list, quota.Counter{
			ID: id, Quota: c.Quota, Per: partsOf(c.Per), Terms: c.Terms, State: c.State,
			UpdatedAt: fromMicros(c.UpdatedAt), ExpiresAt: fromMicros(c.ExpiresAt),
		})
	}
	return list, nil
}

func decodeReservations(ids, values []string) ([]quota.Reservation, error) {
	var list []quota.Reservation
	for i, id := range ids {
		if values[i] == "" {
			continue
		}
		var r storedReservation
		if err := json.Unmarshal([]byte(values[i]), &r); err != nil {
			return nil, fmt.Errorf("read a quota reservation: %w", err)
		}
		list = append(list, quota.Reservation{ID: id, Holds: r.Holds, ExpiresAt: fromMicros(r.ExpiresAt)})
	}
	return list, nil
}

// Reservations implements quota.Store.
func (s *Redis) Reservations(ctx context.Context, ids []string) ([]quota.Reservation, error) {
	values, err := s.of(ctx, redisReservation, ids)
	if err != nil {
		return nil, err
	}
	return decodeReservations(ids, values)
}

// Counters implements quota.Store.
func (s *Redis) Counters(ctx context.Context, ids []string) ([]quota.Counter, error) {
	values, err := s.of(ctx, redisCounter, ids)
	if err != nil {
		return nil, err
	}
	return decodeCounters(ids, values)
}

// of returns the values of the keys with these ids.
func (s *Redis) of(ctx context.Context, prefix string, ids []string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	keys := make([]string, len(ids))
	for i, id := range ids {
		keys[i] = prefix + id
	}
	values, err := s.values(ctx, keys)
	if err != nil {
		return nil, fmt.Errorf("quotas in Redis: %w", err)
	}
	return values, nil
}

// FindCounters implements quota.Store.
func (s *Redis) FindCounters(ctx context.Context, now time.Time, f quota.Filter) ([]quota.Counter, error) {
	if f.ID != "" {
		counters, err := s.Counters(ctx, []string{f.ID})
		return matching(counters, now, f), err
	}
	const page = 256
	from, to := indexRange(f)
	var list []quota.Counter
	for len(list) < f.Limit {
		members, err := s.members(ctx, from, to, page)
		if err != nil {
			return nil, err
		}
		ids := make([]string, len(members))
		for i, m := range members {
			ids[i] = idOf(m)
		}
		counters, err := s.Counters(ctx, ids)
		if err != nil {
			return nil, err
		}
		list = append(list, matching(counters, now, f)...)
		if len(members) < page {
			break
		}
		from = "(" + members[page-1]
	}
	return list[:min(len(list), f.Limit)], nil
}

func (s *Redis) members(ctx context.Context, from, to string, page int64) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	members, err := s.client.Do(ctx, s.client.B().Zrangebylex().Key(redisIndex).Min(from).Max(to).Limit(0, page).Build()).AsStrSlice()
	if err != nil {
		return nil, fmt.Errorf("quotas in Redis: %w", err)
	}
	return members, nil
}

// indexRange is the part of the index in which what a filter wants may be. No id
// begins with \xff.
func indexRange(f quota.Filter) (from, to string) {
	from, to = "-", "+"
	if f.Quota != "" {
		from, to = "["+member(f.Quota, ""), "("+member(f.Quota, "\xff")
	}
	if after := member(f.AfterQuota, f.AfterID); (f.AfterQuota != "" || f.AfterID != "") && after > from[1:] {
		from = "(" + after
	}
	return from, to
}

func matching(counters []quota.Counter, now time.Time, f quota.Filter) []quota.Counter {
	return slices.DeleteFunc(counters, func(c quota.Counter) bool {
		return !now.Before(c.ExpiresAt) ||
			f.Quota != "" && c.Quota != f.Quota ||
			f.Of != "" && !slices.ContainsFunc(c.Per, func(p quota.Part) bool { return p.Value == f.Of }) ||
			cmp.Or(cmp.Compare(c.Quota, f.AfterQuota), cmp.Compare(c.ID, f.AfterID)) <= 0
	})
}
