package credential

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Rekey seals everything with a new data key, itself sealed with the present
// master key, and deletes the old ones. Calls go on meanwhile, on all replicas, and
// generations stay. progress is called from time to time with how many values are
// done, of how many; when Rekey succeeds, at last with done = total.
//
// Every step leaves all values readable. When Rekey ends early, it can be begun
// again. A value that does not open keeps its data key, and the error names it.
func (v *SealedVault) Rekey(ctx context.Context, progress func(done, total int) error) error {
	// First, so that an old master key is needed no longer, however far this goes.
	if err := v.keys.rewrap(ctx); err != nil {
		return err
	}
	id, err := v.keys.rotate(ctx)
	if err != nil {
		return err
	}
	v.log.InfoContext(ctx, "credentials are sealed with a new data key", "data_key", id, "master_key", v.keys.master.Name)
	r := &rekeying{vault: v, id: id, progress: progress, unreadable: map[Key]bool{}}
	// Others may have sealed something with an older key while a pass went on.
	for {
		if ended, err := r.pass(ctx); ended || err != nil {
			return err
		}
	}
}

// rekeying is one Rekey on its way.
type rekeying struct {
	vault      *SealedVault
	id         int64 // of the new data key
	done       int
	progress   func(done, total int) error
	unreadable map[Key]bool
}

// pass seals anew what has an older data key, and says whether that was the last
// of it.
func (r *rekeying) pass(ctx context.Context) (ended bool, err error) {
	old, err := r.old(ctx)
	if err != nil {
		return false, err
	}
	total := r.done + len(old) + len(r.unreadable)
	if err := r.progress(r.done, total); err != nil {
		return false, err
	}
	for _, s := range old {
		if err := ctx.Err(); err != nil {
			return false, err
		}
		changed, err := r.reseal(ctx, s)
		if err != nil {
			return false, err
		}
		if !changed {
			continue
		}
		r.done++
		if err := r.progress(r.done, total); err != nil {
			return false, err
		}
	}
	switch {
	case len(old) > 0:
		return false, nil
	case len(r.unreadable) > 0:
		return true, r.complaint()
	}
	return r.vault.keys.deleteBefore(ctx, r.id)
}

// old returns what is sealed with an older data key, and may open.
func (r *rekeying) old(ctx context.Context) ([]Sealed, error) {
	all, err := r.vault.store.SealedValues(ctx, "")
	if err != nil {
		return nil, err
	}
	var old []Sealed
	for _, s := range all {
		if s.DataKey < r.id && !r.unreadable[s.Key] {
			old = append(old, s)
		}
	}
	return old, nil
}

// reseal seals a value with the newest data key. It says false where the next pass
// has to look at it again, and where it does not open.
func (r *rekeying) reseal(ctx context.Context, s Sealed) (bool, error) {
	e, err := r.vault.open(ctx, s)
	if err == nil {
		err = r.vault.seal(ctx, s, e.Value, func(ctx context.Context, anew Sealed) error {
			return r.vault.store.ResealSealed(ctx, anew, s.DataKey)
		})
	}
	unreadable := (*UnreadableError)(nil)
	switch {
	case err == nil, errors.Is(err, ErrNotFound): // what is gone needs no seal
		return true, nil
	case errors.Is(err, ErrConflict), errors.Is(err, ErrNoDataKey): // somebody has changed it, or sealed it anew
		return false, nil
	case errors.As(err, &unreadable):
		r.unreadable[s.Key] = true
		return false, nil
	}
	return false, err
}

func (r *rekeying) complaint() error {
	var all []string
	for k := range r.unreadable {
		all = append(all, k.String())
	}
	slices.Sort(all)
	return fmt.Errorf("all but this is sealed anew; set or connect it again, or delete it: %w", &UnreadableError{strings.Join(all, ", ")})
}
