package policy

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
)

// settleTime is how long a directory has to be quiet before it is read: an
// editor's save, a checkout or a ConfigMap's swap is many events.
const settleTime = 100 * time.Millisecond

// watch reads a directory or file whenever something around it changes, and
// every now and then. Notifications only say that it is time to look: what
// counts is the digest of what is found.
func (l *Loader) watch(ctx context.Context) {
	var events <-chan fsnotify.Event
	var faults <-chan error
	var watching []string
	notify, err := fsnotify.NewWatcher()
	if err == nil {
		defer notify.Close()
		events, faults = notify.Events, notify.Errors
	} else {
		l.options.Log.Warn("no change notification: the policy is read every so often instead", "every", l.options.Rescan, "error", err)
	}
	rescan := time.NewTicker(l.options.Rescan)
	defer rescan.Stop()
	quiet := time.NewTimer(0)
	defer quiet.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case <-events:
			quiet.Reset(settleTime)
			continue
		case err := <-faults:
			l.options.Log.Debug("change notification", "error", err)
			quiet.Reset(settleTime)
			continue
		case <-quiet.C:
		case <-rescan.C:
		}
		r, _, _ := l.load(ctx, 0)
		if notify == nil {
			continue
		}
		// What changed between the reading and the new watch was not noticed:
		// look again.
		if l.follow(notify, &watching, r.places) {
			quiet.Reset(settleTime)
		}
	}
}

// follow watches the places in place of what is watched, and reports whether
// that added any.
func (l *Loader) follow(notify *fsnotify.Watcher, watching *[]string, places []string) bool {
	slices.Sort(places)
	places = slices.Compact(places)
	added := false
	for _, gone := range *watching {
		if !slices.Contains(places, gone) {
			_ = notify.Remove(gone) // it may have gone by itself
		}
	}
	// A directory that was replaced under its name has lost its watch.
	live := notify.WatchList()
	for _, place := range places {
		if slices.Contains(live, place) && slices.Contains(*watching, place) {
			continue
		}
		if err := notify.Add(place); err != nil {
			l.options.Log.LogAttrs(context.Background(), slog.LevelDebug, "cannot watch for policy changes",
				slog.String("directory", place), slog.String("error", err.Error()))
			continue
		}
		added = true
	}
	*watching = places
	return added
}

// poll asks a URL again and again: at once where the server holds its answer
// until there is something new, else at intervals.
func (l *Loader) poll(ctx context.Context) {
	var wait time.Duration
	failures := 0
	for ctx.Err() == nil {
		asked := time.Now()
		r, done, err := l.load(ctx, wait)
		var pause time.Duration
		switch {
		case err != nil:
			pause = backOff(failures, err, l.source.poll)
			failures++
		case r.longPoll && (done == activated || time.Since(asked) > l.source.poll/2):
			failures = 0
		default:
			// No long polling, or a server that only says so.
			failures, pause = 0, jittered(l.source.poll)
		}
		wait = 0
		if r.longPoll && err == nil {
			wait = max(l.source.poll, time.Second)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// backOff doubles from a second up to limit, unless the server said how long.
func backOff(failures int, err error, limit time.Duration) time.Duration {
	if later := (*retryLater)(nil); errors.As(err, &later) {
		return jittered(later.after)
	}
	return jittered(min(limit, time.Second<<min(failures, 10)))
}

// jittered adds up to a fifth, so that replicas do not ask all at once.
func jittered(d time.Duration) time.Duration {
	return d + rand.N(d/5+1)
}
