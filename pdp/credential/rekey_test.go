package credential_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mcpermit/mcpermit/pdp/credential"
)

func rows(t *testing.T, s credential.Store) []credential.Sealed {
	t.Helper()
	all, err := s.SealedValues(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestRekeyChangesSealsAndNothingElse(t *testing.T) {
	s := newStore(t)
	v := newVault(t, s, "a")
	for i := range 5 {
		set(t, v, secret(fmt.Sprint(i), ""), fmt.Sprint("value ", i))
	}
	set(t, v, secret("0", ""), "value 0")
	if ok, err := v.Lease(t.Context(), secret("0", ""), 2, time.Hour); !ok || err != nil {
		t.Fatalf("lease: %v, %v", ok, err)
	}
	before := rows(t, s)
	var last [2]int
	told := 0
	if err := v.Rekey(t.Context(), func(done, total int) error {
		told, last = told+1, [2]int{done, total}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if last != [2]int{5, 5} || told < 5 {
		t.Errorf("progress ended at %v, after %d times", last, told)
	}
	after := rows(t, s)
	if diff := cmp.Diff(before, after, cmpopts.IgnoreFields(credential.Sealed{}, "Value", "DataKey")); diff != "" {
		t.Errorf("rows (-before +after):\n%s", diff)
	}
	for i := range after {
		if after[i].DataKey != 2 || slices.Equal(after[i].Value, before[i].Value) {
			t.Errorf("%s was not sealed anew", after[i].Key)
		}
	}
	if ids := dataKeyIDs(t, s); !slices.Equal(ids, []int64{2}) {
		t.Errorf("data keys %v, want 2 alone", ids)
	}
	for i := range 5 {
		wantValue(t, v, secret(fmt.Sprint(i), ""), fmt.Sprint("value ", i))
		wantValue(t, newVault(t, s, "a"), secret(fmt.Sprint(i), ""), fmt.Sprint("value ", i))
	}
	if ok, err := newVault(t, s, "a").Lease(t.Context(), secret("0", ""), 2, time.Hour); ok || err != nil {
		t.Errorf("the lease was lost: %v, %v", ok, err)
	}
}

func TestRekeyOfNothing(t *testing.T) {
	s := newStore(t)
	v := newVault(t, s, "a")
	if err := v.Rekey(t.Context(), ignore); err != nil {
		t.Fatal(err)
	}
	if err := v.Rekey(t.Context(), ignore); err != nil {
		t.Fatal(err)
	}
	if ids := dataKeyIDs(t, s); !slices.Equal(ids, []int64{2}) {
		t.Errorf("data keys %v, want 2 alone", ids)
	}
}

func TestRekeyChangesTheMasterKey(t *testing.T) {
	s := newStore(t)
	set(t, newVault(t, s, "a"), secret("x", ""), "s3cret")
	v := newVault(t, s, "b", "a")
	wantValue(t, v, secret("x", ""), "s3cret")
	if _, err := credential.NewVault(t.Context(), credential.Options{Store: s, Master: masterKey("b")}); err == nil {
		t.Fatal("the old master key was not needed before")
	}
	if err := v.Rekey(t.Context(), ignore); err != nil {
		t.Fatal(err)
	}
	wantValue(t, newVault(t, s, "b"), secret("x", ""), "s3cret")
	if _, err := credential.NewVault(t.Context(), credential.Options{Store: s, Master: masterKey("a")}); err == nil {
		t.Error("the old master key still opens")
	}
}

// TestRekeyUnderLoad has three replicas write, read and take over one store while
// keys change twice. Nobody sees an error, an older value, or none.
func TestRekeyUnderLoad(t *testing.T) {
	s := newStore(t)
	vaults := []*credential.SealedVault{newVault(t, s, "a"), newVault(t, s, "a"), newVault(t, s, "a")}
	const writers, readers = 8, 8
	var written [writers]atomic.Int64 // the newest generation that was acknowledged
	key := func(w int) credential.Key {
		return credential.Key{Kind: credential.KindAccount, Name: "server/main", Holder: fmt.Sprint(w)}
	}
	put := func(w int, g int64) error {
		e := credential.Entry{Key: key(w), Generation: g, Value: fmt.Appendf(nil, "%d:%d", w, g)}
		if err := vaults[(w+int(g))%3].Put(t.Context(), e); err != nil {
			return fmt.Errorf("put %d of %d: %w", g, w, err)
		}
		written[w].Store(g)
		return nil
	}
	for w := range writers {
		if err := put(w, 1); err != nil {
			t.Fatal(err)
		}
	}
	done := make(chan struct{})
	var all sync.WaitGroup
	until := func(work func(i int) error) {
		all.Go(func() {
			for i := 2; ; i++ {
				select {
				case <-done:
					return
				default:
				}
				if err := work(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for w := range writers {
		until(func(i int) error { return put(w, int64(i)) })
	}
	for r := range readers {
		until(func(i int) error {
			w := (r + i) % writers
			least := written[w].Load()
			e, err := vaults[i%3].Get(t.Context(), key(w))
			if err != nil || e.Generation < least || string(e.Value) != fmt.Sprintf("%d:%d", w, e.Generation) {
				return fmt.Errorf("read of %d: %q of generation %d, at least %d was written: %w", w, e.Value, e.Generation, least, err)
			}
			return nil
		})
	}
	until(func(i int) error { // flows come and go
		k := credential.Key{Kind: credential.KindFlow, Name: fmt.Sprint(i)}
		if err := vaults[i%3].Put(t.Context(), credential.Entry{Key: k, Generation: 1, Value: []byte("flow"), ExpiresAt: start.Add(time.Hour)}); err != nil {
			return err
		}
		e, err := vaults[(i+1)%3].Take(t.Context(), k)
		if err != nil || string(e.Value) != "flow" {
			return fmt.Errorf("take: %q, %w", e.Value, err)
		}
		return nil
	})
	for i := range 2 {
		if err := vaults[i].Rekey(t.Context(), ignore); err != nil {
			t.Error(err)
		}
	}
	close(done)
	all.Wait()
	if ids := dataKeyIDs(t, s); !slices.Equal(ids, []int64{3}) {
		t.Errorf("data keys %v, want 3 alone", ids)
	}
	for w := range writers {
		wantValue(t, newVault(t, s, "a"), key(w), fmt.Sprintf("%d:%d", w, written[w].Load()))
	}
}

// overtaken is a store to which something happens right after a reading.
type overtaken struct {
	credential.Store
	value, keys func()
}

func happens(f *func()) {
	if once := *f; once != nil {
		*f = nil
		once()
	}
}

func (o *overtaken) SealedValue(ctx context.Context, k credential.Key) (credential.Sealed, error) {
	v, err := o.Store.SealedValue(ctx, k)
	happens(&o.value)
	return v, err
}

func (o *overtaken) DataKeys(ctx context.Context) ([]credential.DataKey, error) {
	keys, err := o.Store.DataKeys(ctx)
	happens(&o.keys)
	return keys, err
}

// What a rekey of another replica overtakes between two steps goes on all the same,
// also where this replica has never seen the data key before.
func TestWhatARekeyOvertakes(t *testing.T) {
	k := secret("x", "ada")
	for what, act := range map[string]func(v *credential.SealedVault) error{
		"get": func(v *credential.SealedVault) error {
			e, err := v.Get(t.Context(), k)
			if err == nil && string(e.Value) != "1" {
				err = fmt.Errorf("value %q", e.Value)
			}
			return err
		},
		"take": func(v *credential.SealedVault) error {
			e, err := v.Take(t.Context(), k)
			if err == nil && string(e.Value) != "1" {
				err = fmt.Errorf("value %q", e.Value)
			}
			return err
		},
		"put": func(v *credential.SealedVault) error {
			return v.Put(t.Context(), credential.Entry{Key: k, Generation: 2, Value: []byte("2")})
		},
		"set":   func(v *credential.SealedVault) error { _, err := v.Set(t.Context(), k, []byte("2")); return err },
		"rekey": func(v *credential.SealedVault) error { return v.Rekey(t.Context(), ignore) },
	} {
		for _, fresh := range []bool{true, false} {
			for _, at := range []string{"value", "keys"} {
				s := newStore(t)
				other := newVault(t, s, "a")
				o := &overtaken{Store: s}
				var v *credential.SealedVault
				if fresh {
					v = newVault(t, o, "a")
				}
				set(t, other, k, "1")
				if !fresh {
					v = newVault(t, o, "a")
				}
				rekey := func() {
					for range 2 {
						if err := other.Rekey(t.Context(), ignore); err != nil {
							t.Error(err)
						}
					}
				}
				if at == "value" {
					o.value = rekey
				} else {
					o.keys = rekey
				}
				if err := act(v); err != nil {
					t.Errorf("%s, after the %s, fresh %v: %v", what, at, fresh, err)
				}
			}
		}
	}
}

func TestTheMasterKeyChangesWhileAnotherReplicaRekeys(t *testing.T) {
	s := newStore(t)
	other := newVault(t, s, "a")
	set(t, other, secret("x", ""), "1")
	o := &overtaken{Store: s}
	v := newVault(t, o, "b", "a")
	o.keys = func() {
		if err := other.Rekey(t.Context(), ignore); err != nil {
			t.Error(err)
		}
	}
	if err := v.Rekey(t.Context(), ignore); err != nil {
		t.Fatal(err)
	}
	wantValue(t, newVault(t, s, "b"), secret("x", ""), "1")
}

// late is a store that somebody seals something in just before a key is deleted.
type late struct {
	credential.Store
	put func()
}

func (l *late) DeleteDataKey(ctx context.Context, id int64) error {
	happens(&l.put)
	return l.Store.DeleteDataKey(ctx, id)
}

func TestRekeyLooksAgainWhereAnOldKeyWasUsedMeanwhile(t *testing.T) {
	s := newStore(t)
	set(t, newVault(t, s, "a"), secret("x", ""), "1")
	old := rows(t, s)[0]
	l := &late{s, func() {
		if err := errors.Join(s.DeleteSealed(t.Context(), old.Key), s.PutSealed(t.Context(), old)); err != nil {
			t.Error(err)
		}
	}}
	if err := newVault(t, l, "a").Rekey(t.Context(), ignore); err != nil {
		t.Fatal(err)
	}
	if ids := dataKeyIDs(t, s); !slices.Equal(ids, []int64{2}) {
		t.Errorf("data keys %v, want 2 alone", ids)
	}
	wantValue(t, newVault(t, s, "a"), secret("x", ""), "1")
}

func TestADeletedDataKeyIsForgotten(t *testing.T) {
	s := newStore(t)
	one, other := newVault(t, s, "a"), newVault(t, s, "a")
	set(t, one, secret("x", ""), "1")
	wantValue(t, other, secret("x", ""), "1")
	if err := one.Rekey(t.Context(), ignore); err != nil {
		t.Fatal(err)
	}
	wantValue(t, other, secret("x", ""), "1")
	for what, v := range map[string]*credential.SealedVault{"the one that has deleted it": one, "another": other} {
		if ids := v.OpenDataKeys(); !slices.Equal(ids, []int64{2}) {
			t.Errorf("%s knows the data keys %v, want 2 alone", what, ids)
		}
	}
}

func TestRekeysAtOnce(t *testing.T) {
	s := newStore(t)
	vaults := []*credential.SealedVault{newVault(t, s, "a"), newVault(t, s, "a"), newVault(t, s, "a")}
	for i := range 10 {
		set(t, vaults[0], secret(fmt.Sprint(i), ""), fmt.Sprint(i))
	}
	var all sync.WaitGroup
	for _, v := range vaults {
		all.Go(func() {
			if err := v.Rekey(t.Context(), ignore); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range 10 {
		wantValue(t, vaults[i%3], secret(fmt.Sprint(i), ""), fmt.Sprint(i))
	}
	if ids := dataKeyIDs(t, s); !slices.Equal(ids, []int64{4}) {
		t.Errorf("data keys %v, want 4 alone", ids)
	}
}

// dying is a store of a process that ends after so many writes.
type dying struct {
	credential.Store
	writes int
}

var errKilled = errors.New("killed")

func (d *dying) write(f func() error) error {
	if d.writes == 0 {
		return errKilled
	}
	d.writes--
	return f()
}

func (d *dying) ResealSealed(ctx context.Context, v credential.Sealed, was int64) error {
	return d.write(func() error { return d.Store.ResealSealed(ctx, v, was) })
}

func (d *dying) AddDataKey(ctx context.Context, k credential.DataKey) error {
	return d.write(func() error { return d.Store.AddDataKey(ctx, k) })
}

func (d *dying) RewrapDataKey(ctx context.Context, k credential.DataKey) error {
	return d.write(func() error { return d.Store.RewrapDataKey(ctx, k) })
}

func (d *dying) DeleteDataKey(ctx context.Context, id int64) error {
	return d.write(func() error { return d.Store.DeleteDataKey(ctx, id) })
}

// TestRekeyThatEndsAnywhereLeavesAllReadable ends it after each of its writes in
// turn, with a change of the master key.
func TestRekeyThatEndsAnywhereLeavesAllReadable(t *testing.T) {
	const values = 4
	ended := false
	writes := 0
	for ; !ended; writes++ {
		s := newStore(t)
		first := newVault(t, s, "a")
		for i := range values {
			set(t, first, secret(fmt.Sprint(i), ""), fmt.Sprint(i))
		}
		err := newVault(t, &dying{s, writes}, "b", "a").Rekey(t.Context(), ignore)
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatal(err)
		}
		ended = err == nil
		masters := []string{"b", "a"}
		if writes > 0 {
			masters = masters[:1] // from the first write on the old one is needed no longer
		}
		next := newVault(t, s, masters[0], masters[1:]...)
		for i := range values {
			wantValue(t, next, secret(fmt.Sprint(i), ""), fmt.Sprint(i))
		}
		if err := next.Rekey(t.Context(), ignore); err != nil {
			t.Fatalf("again after %d writes: %v", writes, err)
		}
		for i := range values {
			wantValue(t, newVault(t, s, "b"), secret(fmt.Sprint(i), ""), fmt.Sprint(i))
		}
		if ids := dataKeyIDs(t, s); len(ids) != 1 {
			t.Errorf("data keys %v, want one", ids)
		}
	}
	if want := values + 4; writes != want { // rewrap, add, reseal each, delete, and the one that finds nothing to fail
		t.Errorf("ended after %d writes, want %d", writes, want)
	}
}

func TestRekeyGoesOnAfterWhatDoesNotOpen(t *testing.T) {
	s := newStore(t)
	v := newVault(t, s, "a")
	for _, name := range []string{"a", "b", "c"} {
		set(t, v, secret(name, ""), name)
	}
	broken := rows(t, s)[1]
	if err := s.DeleteSealed(t.Context(), broken.Key); err != nil {
		t.Fatal(err)
	}
	broken.Value = []byte("nothing that was ever sealed")
	if err := s.PutSealed(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	var last [2]int
	err := v.Rekey(t.Context(), func(done, total int) error { last = [2]int{done, total}; return nil })
	if err == nil || !strings.Contains(err.Error(), `secret "b" does not open`) || strings.Contains(err.Error(), "\n") {
		t.Errorf("error: %v", err)
	}
	if last != [2]int{2, 3} {
		t.Errorf("progress ended at %v", last)
	}
	for _, name := range []string{"a", "c"} {
		wantValue(t, v, secret(name, ""), name)
	}
	if ids := dataKeyIDs(t, s); !slices.Equal(ids, []int64{1, 2}) {
		t.Errorf("data keys %v, want 1 and 2", ids)
	}
	set(t, v, secret("b", ""), "b")
	if err := v.Rekey(t.Context(), ignore); err != nil {
		t.Error(err)
	}
}

func TestRekeyEndsWithItsContext(t *testing.T) {
	s := newStore(t)
	v := newVault(t, s, "a")
	for i := range 5 {
		set(t, v, secret(fmt.Sprint(i), ""), fmt.Sprint(i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	err := v.Rekey(ctx, func(done, _ int) error {
		if done == 2 {
			cancel()
		}
		return nil
	})
	wantErr(t, "cancelled", err, context.Canceled)
	for i := range 5 {
		wantValue(t, v, secret(fmt.Sprint(i), ""), fmt.Sprint(i))
	}
}
