package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mcpermit/mcpermit/pdp/credential"
)

// credentialTests are those of credential.Store.
var credentialTests = map[string]func(t *testing.T, open Database){
	"SealedRoundTrip":                sealedRoundTrip,
	"SealedGenerations":              sealedGenerations,
	"SealedInOrder":                  sealedInOrder,
	"SealedSeparatorsDoNotCollide":   sealedSeparatorsDoNotCollide,
	"OneOfConcurrentPutsWins":        oneOfConcurrentPutsWins,
	"SealedIsTakenOnce":              sealedIsTakenOnce,
	"SealedIsDeleted":                sealedIsDeleted,
	"SealedExpires":                  sealedExpires,
	"LeaseIsGivenToOne":              leaseIsGivenToOne,
	"LeaseEnds":                      leaseEnds,
	"ResealChangesTheSealAlone":      resealChangesTheSealAlone,
	"DataKeysCount":                  dataKeysCount,
	"OneOfConcurrentDataKeysIsAdded": oneOfConcurrentDataKeysIsAdded,
	"DataKeyInUseStays":              dataKeyInUseStays,
	"NothingIsSealedWithADeletedKey": nothingIsSealedWithADeletedKey,
	"CredentialsSurviveReopening":    credentialsSurviveReopening,
}

func dataKey(id int64) credential.DataKey {
	return credential.DataKey{ID: id, Wrapped: fmt.Appendf([]byte{0, 0xff}, "key %d", id), Master: "local:1", CreatedAt: start}
}

func addDataKeys(t *testing.T, s Store, ids ...int64) {
	t.Helper()
	for _, id := range ids {
		do(t, s.AddDataKey(t.Context(), dataKey(id)))
	}
}

func sealed(name, holder string) credential.Sealed {
	return credential.Sealed{
		Key: credential.Key{Kind: credential.KindSecret, Name: name, Holder: holder}, Generation: 1,
		Value: []byte("sealed\x00\xff" + name + holder), DataKey: 1, CreatedAt: start, UpdatedAt: start,
	}
}

// next is v one generation later.
func next(v credential.Sealed) credential.Sealed {
	v.Generation++
	v.Value = fmt.Appendf(nil, "sealed %d", v.Generation)
	v.UpdatedAt = v.UpdatedAt.Add(time.Minute)
	return v
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func sealedRoundTrip(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1)
	full := sealed("full", "ada")
	full.ExpiresAt = start.Add(time.Hour)
	for _, want := range []credential.Sealed{full, sealed("bare", "")} {
		do(t, s.PutSealed(t.Context(), want))
		equal(t, want.Name, must[credential.Sealed](t)(s.SealedValue(t.Context(), want.Key)), want)
	}
	_, err := s.SealedValue(t.Context(), credential.Key{Kind: credential.KindAccount, Name: "full", Holder: "ada"})
	wantErr(t, "another kind", err, credential.ErrNotFound)
	wantErr(t, "a value without a key", s.PutSealed(t.Context(), credential.Sealed{Key: credential.Key{Kind: "x"}, Generation: 1, DataKey: 2}), credential.ErrNoDataKey)
}

func sealedGenerations(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1, 2)
	first := sealed("a", "")
	second := next(first)
	second.DataKey, second.ExpiresAt = 2, start.Add(time.Hour)
	second.CreatedAt = start.Add(time.Hour) // stays the first's
	wantErr(t, "the second without a first", s.PutSealed(t.Context(), second), credential.ErrConflict)
	do(t, s.PutSealed(t.Context(), first))
	wantErr(t, "the first again", s.PutSealed(t.Context(), first), credential.ErrConflict)
	wantErr(t, "the third", s.PutSealed(t.Context(), next(second)), credential.ErrConflict)
	for _, generation := range []int64{0, -1} {
		v := first
		v.Generation = generation
		wantErr(t, fmt.Sprint("generation ", generation), s.PutSealed(t.Context(), v), credential.ErrConflict)
	}
	do(t, s.PutSealed(t.Context(), second))
	wantErr(t, "the second again", s.PutSealed(t.Context(), second), credential.ErrConflict)
	second.CreatedAt = start
	equal(t, "the second", must[credential.Sealed](t)(s.SealedValue(t.Context(), first.Key)), second)
}

func sealedInOrder(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1)
	account := sealed("a", "z")
	account.Kind = credential.KindAccount
	want := []credential.Sealed{account, sealed("a", ""), sealed("a", "b"), sealed("b", "a"), sealed("ba", "")}
	for _, v := range slices.Backward(want) {
		do(t, s.PutSealed(t.Context(), v))
	}
	equal(t, "every kind", must[[]credential.Sealed](t)(s.SealedValues(t.Context(), "")), want)
	equal(t, "secrets", must[[]credential.Sealed](t)(s.SealedValues(t.Context(), credential.KindSecret)), want[1:])
	equal(t, "flows", must[[]credential.Sealed](t)(s.SealedValues(t.Context(), credential.KindFlow)), []credential.Sealed{})
}

func sealedSeparatorsDoNotCollide(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1)
	parts := []string{"", "a", "a/", "/a", "a:b", "a'b", `a"b`, "a%", "a_", "A", "a\x00b", "a ", "ä", `a\0b`}
	for _, name := range parts {
		for _, holder := range parts {
			do(t, s.PutSealed(t.Context(), sealed(name, holder)))
		}
	}
	for _, name := range parts {
		for _, holder := range parts {
			want := sealed(name, holder)
			equal(t, name+" of "+holder, must[credential.Sealed](t)(s.SealedValue(t.Context(), want.Key)), want)
		}
	}
}

// winners runs f so many times at once, and counts those that succeed; the others
// must fail with one of the errors.
func winners(t *testing.T, n int, f func(i int) error, lost ...error) int {
	t.Helper()
	var won atomic.Int32
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			err := f(i)
			switch {
			case err == nil:
				won.Add(1)
			case !slices.ContainsFunc(lost, func(l error) bool { return errors.Is(err, l) }):
				t.Error(err)
			}
		})
	}
	all.Wait()
	return int(won.Load())
}

func oneOfConcurrentPutsWins(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1)
	v := sealed("a", "ada")
	for range 3 {
		if n := winners(t, 16, func(int) error { return s.PutSealed(t.Context(), v) }, credential.ErrConflict); n != 1 {
			t.Errorf("generation %d: %d have put it, want 1", v.Generation, n)
		}
		v = next(v)
	}
}

func sealedIsTakenOnce(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1, 2)
	v := sealed("a", "ada")
	do(t, s.PutSealed(t.Context(), v))
	later, resealed := next(v), v
	resealed.DataKey = 2
	wantErr(t, "another generation", s.TakeSealed(t.Context(), later), credential.ErrConflict)
	wantErr(t, "another data key", s.TakeSealed(t.Context(), resealed), credential.ErrConflict)
	if n := winners(t, 16, func(int) error { return s.TakeSealed(t.Context(), v) }, credential.ErrNotFound); n != 1 {
		t.Errorf("%d have taken it, want 1", n)
	}
	_, err := s.SealedValue(t.Context(), v.Key)
	wantErr(t, "taken", err, credential.ErrNotFound)
}

func sealedIsDeleted(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1)
	do(t, s.PutSealed(t.Context(), sealed("a", "ada")), s.PutSealed(t.Context(), sealed("a", "")), s.DeleteSealed(t.Context(), sealed("a", "ada").Key))
	wantErr(t, "twice", s.DeleteSealed(t.Context(), sealed("a", "ada").Key), credential.ErrNotFound)
	must[credential.Sealed](t)(s.SealedValue(t.Context(), sealed("a", "").Key))
}

func sealedExpires(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1)
	put := func(kind, name string, expires time.Time) {
		v := sealed(name, "")
		v.Kind, v.ExpiresAt = kind, expires
		do(t, s.PutSealed(t.Context(), v))
	}
	put(credential.KindFlow, "before", start.Add(-time.Microsecond))
	put(credential.KindFlow, "at the time", start)
	put(credential.KindFlow, "never", time.Time{})
	put(credential.KindAccount, "another kind", start.Add(-time.Hour))
	do(t, s.DeleteSealedBefore(t.Context(), credential.KindFlow, start))
	var left []string
	for _, v := range must[[]credential.Sealed](t)(s.SealedValues(t.Context(), "")) {
		left = append(left, v.Name)
	}
	equal(t, "left", left, []string{"another kind", "at the time", "never"})
}

func leaseIsGivenToOne(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1)
	v := sealed("a", "ada")
	do(t, s.PutSealed(t.Context(), v))
	refused := errors.New("another has it")
	n := winners(t, 16, func(i int) error {
		ok, err := s.LeaseSealed(t.Context(), v.Key, 1, fmt.Sprint("replica ", i), start, start.Add(time.Minute))
		if err == nil && !ok {
			return refused
		}
		return err
	}, refused)
	if n != 1 {
		t.Errorf("%d have the lease, want 1", n)
	}
}

func leaseEnds(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1)
	v := sealed("a", "ada")
	do(t, s.PutSealed(t.Context(), v), s.PutSealed(t.Context(), sealed("a", "")))
	minute := start.Add(time.Minute)
	lease := func(what string, generation int64, by string, now time.Time, want bool) {
		t.Helper()
		if ok, err := s.LeaseSealed(t.Context(), v.Key, generation, by, now, now.Add(time.Minute)); ok != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", what, ok, err, want)
		}
	}
	lease("a generation that is not there", 2, "one", start, false)
	lease("the first", 1, "one", start, true)
	lease("another meanwhile", 1, "other", minute.Add(-time.Microsecond), false)
	lease("the same again", 1, "one", start, true)
	lease("another afterwards", 1, "other", minute, true)
	lease("the first while the other has it", 1, "one", minute, false)
	equal(t, "the value", must[credential.Sealed](t)(s.SealedValue(t.Context(), v.Key)), v)
	do(t, s.PutSealed(t.Context(), next(v)))
	lease("the generation that is gone", 1, "one", minute, false)
	lease("the next generation", 2, "one", minute, true)
	if ok, err := s.LeaseSealed(t.Context(), credential.Key{Kind: "x"}, 1, "one", start, minute); ok || err != nil {
		t.Errorf("what is not there: %v, %v", ok, err)
	}
}

func resealChangesTheSealAlone(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1, 2)
	v := sealed("a", "ada")
	v.ExpiresAt = start.Add(time.Hour)
	do(t, s.PutSealed(t.Context(), v))
	if ok, err := s.LeaseSealed(t.Context(), v.Key, 1, "one", start, start.Add(time.Minute)); !ok || err != nil {
		t.Fatalf("lease: %v, %v", ok, err)
	}
	again := v
	again.Value, again.DataKey = []byte("sealed again"), 2
	asked := again // what it is asked to change beside, stays
	asked.UpdatedAt, asked.CreatedAt, asked.ExpiresAt = start.Add(time.Hour), start.Add(time.Hour), time.Time{}

	wantErr(t, "another data key", s.ResealSealed(t.Context(), asked, 2), credential.ErrConflict)
	wantErr(t, "another generation", s.ResealSealed(t.Context(), next(asked), 1), credential.ErrConflict)
	unknown, gone := asked, asked
	unknown.DataKey, gone.Name = 3, "gone"
	wantErr(t, "a data key that is not there", s.ResealSealed(t.Context(), unknown, 1), credential.ErrNoDataKey)
	wantErr(t, "what is not there", s.ResealSealed(t.Context(), gone, 1), credential.ErrNotFound)
	equal(t, "refused", must[credential.Sealed](t)(s.SealedValue(t.Context(), v.Key)), v)

	do(t, s.ResealSealed(t.Context(), asked, 1))
	equal(t, "sealed again", must[credential.Sealed](t)(s.SealedValue(t.Context(), v.Key)), again)
	if ok, err := s.LeaseSealed(t.Context(), v.Key, 1, "other", start, start.Add(time.Minute)); ok || err != nil {
		t.Errorf("the lease was lost: %v, %v", ok, err)
	}
	do(t, s.PutSealed(t.Context(), next(again)))
}

func dataKeysCount(t *testing.T, open Database) {
	s := opened(t, open)
	equal(t, "none", must[[]credential.DataKey](t)(s.DataKeys(t.Context())), []credential.DataKey{})
	wantErr(t, "the second first", s.AddDataKey(t.Context(), dataKey(2)), credential.ErrConflict)
	addDataKeys(t, s, 1)
	wantErr(t, "the first again", s.AddDataKey(t.Context(), dataKey(1)), credential.ErrConflict)
	addDataKeys(t, s, 2)
	other := dataKey(1)
	other.Wrapped, other.Master, other.CreatedAt = []byte("wrapped again"), "local:2", start.Add(time.Hour)
	do(t, s.RewrapDataKey(t.Context(), other))
	other.CreatedAt = start
	equal(t, "keys", must[[]credential.DataKey](t)(s.DataKeys(t.Context())), []credential.DataKey{other, dataKey(2)})
	wantErr(t, "rewrap what is not there", s.RewrapDataKey(t.Context(), dataKey(3)), credential.ErrNoDataKey)
}

func oneOfConcurrentDataKeysIsAdded(t *testing.T, open Database) {
	s := opened(t, open)
	for id := range int64(3) {
		if n := winners(t, 16, func(int) error { return s.AddDataKey(t.Context(), dataKey(id+1)) }, credential.ErrConflict); n != 1 {
			t.Errorf("%d have added key %d, want 1", n, id+1)
		}
	}
}

func dataKeyInUseStays(t *testing.T, open Database) {
	s := opened(t, open)
	addDataKeys(t, s, 1)
	wantErr(t, "the newest", s.DeleteDataKey(t.Context(), 1), credential.ErrConflict)
	do(t, s.PutSealed(t.Context(), sealed("a", "")))
	addDataKeys(t, s, 2)
	wantErr(t, "one in use", s.DeleteDataKey(t.Context(), 1), credential.ErrConflict)
	v := sealed("a", "")
	v.DataKey = 2
	do(t, s.ResealSealed(t.Context(), v, 1), s.DeleteDataKey(t.Context(), 1), s.DeleteDataKey(t.Context(), 1), s.DeleteDataKey(t.Context(), 9))
	equal(t, "keys", must[[]credential.DataKey](t)(s.DataKeys(t.Context())), []credential.DataKey{dataKey(2)})
	wantErr(t, "an id that was used", s.AddDataKey(t.Context(), dataKey(1)), credential.ErrConflict)
	addDataKeys(t, s, 3)
}

// nothingIsSealedWithADeletedKey puts values while their key is deleted: each has
// one or the other.
func nothingIsSealedWithADeletedKey(t *testing.T, open Database) {
	s := opened(t, open)
	const rounds, writers = 8, 6
	for id := int64(1); id <= rounds; id++ {
		addDataKeys(t, s, id)
		var all sync.WaitGroup
		all.Go(func() {
			if id > 1 {
				if err := s.DeleteDataKey(t.Context(), id-1); err != nil && !errors.Is(err, credential.ErrConflict) {
					t.Error(err)
				}
			}
		})
		winners(t, writers, func(i int) error {
			v := sealed(fmt.Sprintf("round %d", id), fmt.Sprintf("writer %d", i))
			v.DataKey = max(1, id-1)
			return s.PutSealed(t.Context(), v)
		}, credential.ErrNoDataKey)
		all.Wait()
	}
	keys := map[int64]bool{}
	for _, k := range must[[]credential.DataKey](t)(s.DataKeys(t.Context())) {
		keys[k.ID] = true
	}
	for _, v := range must[[]credential.Sealed](t)(s.SealedValues(t.Context(), "")) {
		if !keys[v.DataKey] {
			t.Errorf("%s of %s is sealed with key %d, which is gone", v.Name, v.Holder, v.DataKey)
		}
	}
}

func credentialsSurviveReopening(t *testing.T, open Database) {
	s := open(t)
	addDataKeys(t, s, 1)
	v := sealed("a", "ada")
	do(t, s.PutSealed(t.Context(), v))
	if ok, err := s.LeaseSealed(t.Context(), v.Key, 1, "one", start, start.Add(time.Minute)); !ok || err != nil {
		t.Fatalf("lease: %v, %v", ok, err)
	}
	do(t, s.Close())

	s = opened(t, open)
	equal(t, "value", must[credential.Sealed](t)(s.SealedValue(t.Context(), v.Key)), v)
	equal(t, "keys", must[[]credential.DataKey](t)(s.DataKeys(t.Context())), []credential.DataKey{dataKey(1)})
	if ok, err := s.LeaseSealed(t.Context(), v.Key, 1, "other", start, start.Add(time.Minute)); ok || err != nil {
		t.Errorf("the lease was lost: %v, %v", ok, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.PutSealed(ctx, next(v)); err == nil {
		t.Error("put after the context has ended")
	}
	equal(t, "value", must[credential.Sealed](t)(s.SealedValue(t.Context(), v.Key)), v)
}
