package credential_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mcpermit/mcpermit/pdp/credential"
)

func TestEntriesComeBackAsTheyWerePut(t *testing.T) {
	v := newVault(t, newStore(t), "a")
	k := credential.Key{Kind: credential.KindAccount, Name: "stripe/main", Holder: "ada"}
	if _, err := v.Get(t.Context(), k); !errors.Is(err, credential.ErrNotFound) {
		t.Errorf("nothing yet: %v", err)
	}
	put := credential.Entry{Key: k, Generation: 1, Value: []byte("one\x00\xff"), ExpiresAt: start.Add(time.Hour)}
	want := put
	want.CreatedAt, want.UpdatedAt = start, start
	for range 3 {
		if err := v.Put(t.Context(), put); err != nil {
			t.Fatal(err)
		}
		got, err := v.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		// Beside formatting, which leaves the value out.
		if !bytes.Equal(got.Value, want.Value) || !cmp.Equal(got.ExpiresAt, want.ExpiresAt) || !cmp.Equal(got.CreatedAt, start) || got.Generation != want.Generation {
			t.Errorf("generation %d: got %d, %q, expires %s", want.Generation, got.Generation, got.Value, got.ExpiresAt)
		}
		wantErr(t, "the same generation again", v.Put(t.Context(), put), credential.ErrConflict)
		put.Generation++
		put.Value = append(put.Value, 'x')
		want.Generation, want.Value = put.Generation, put.Value
	}
	list, err := v.List(t.Context(), credential.KindAccount)
	if err != nil || len(list) != 1 || list[0].Key != k || list[0].Value != nil || list[0].Generation != 3 {
		t.Errorf("list: %v, %v", list, err)
	}
	if err := v.Delete(t.Context(), k); err != nil {
		t.Error(err)
	}
	wantErr(t, "twice", v.Delete(t.Context(), k), credential.ErrNotFound)
}

// Whoever can write to the database can't have a secret sent for somebody else, to
// another server, or an earlier one in place of a later.
func TestAValueThatWasMovedOrChangedDoesNotOpen(t *testing.T) {
	s := newStore(t)
	v := newVault(t, s, "a")
	k := secret("stripe", "ada")
	set(t, v, k, "s3cret")
	row, err := s.SealedValue(t.Context(), k)
	if err != nil {
		t.Fatal(err)
	}
	planted := func(what string, change func(v *credential.Sealed)) {
		t.Helper()
		other := row
		other.Value = bytes.Clone(row.Value)
		change(&other)
		if err := s.DeleteSealed(t.Context(), other.Key); err != nil && !errors.Is(err, credential.ErrNotFound) {
			t.Fatal(err)
		}
		for g, last := int64(1), other.Generation; g <= last; g++ {
			if other.Generation = g; s.PutSealed(t.Context(), other) != nil {
				t.Fatalf("%s: not planted", what)
			}
		}
		e, err := v.Get(t.Context(), other.Key)
		if unreadable := (*credential.UnreadableError)(nil); !errors.As(err, &unreadable) || e.Value != nil {
			t.Errorf("%s: %q, %v", what, e.Value, err)
		}
		if _, err := v.Take(t.Context(), other.Key); err == nil {
			t.Errorf("%s: taken", what)
		}
		if _, err := s.SealedValue(t.Context(), other.Key); err != nil {
			t.Errorf("%s: what does not open was lost: %v", what, err)
		}
	}
	planted("another kind", func(v *credential.Sealed) { v.Kind = credential.KindAccount })
	planted("another name", func(v *credential.Sealed) { v.Name = "github" })
	planted("another holder", func(v *credential.Sealed) { v.Holder = "bob" })
	planted("shared by all", func(v *credential.Sealed) { v.Holder = "" })
	planted("a letter of the name in the holder", func(v *credential.Sealed) { v.Name, v.Holder = "strip", "eada" })
	planted("a later generation", func(v *credential.Sealed) { v.Generation = 2 })
	planted("cut off", func(v *credential.Sealed) { v.Value = v.Value[:len(v.Value)-1] })
	planted("too short to be anything", func(v *credential.Sealed) { v.Value = v.Value[:3] })
	for i := range row.Value {
		planted(fmt.Sprint("byte ", i), func(v *credential.Sealed) { v.Value[i] ^= 1 })
	}
	set(t, v, k, "again") // heals it
	wantValue(t, v, k, "again")
}

func TestVaultsOfOneStoreShareItsDataKeys(t *testing.T) {
	s := newStore(t)
	vaults := []*credential.SealedVault{newVault(t, s, "a"), newVault(t, s, "a"), newVault(t, s, "a")}
	var all sync.WaitGroup
	for i, v := range vaults {
		all.Go(func() {
			if _, err := v.Set(t.Context(), secret(fmt.Sprint(i), ""), []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for i := range vaults {
		for _, v := range vaults {
			wantValue(t, v, secret(fmt.Sprint(i), ""), "x")
		}
	}
	if ids := dataKeyIDs(t, s); len(ids) != 1 {
		t.Errorf("data keys %v, want one", ids)
	}
}

func TestALostMasterKeyIsSaidAndNothingChanged(t *testing.T) {
	s := newStore(t)
	set(t, newVault(t, s, "lost"), secret("x", ""), "s3cret")
	before, err := s.DataKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	impostor := masterKey("other")
	impostor.Name = "lost"
	for what, c := range map[string]struct {
		master credential.MasterKey
		want   []string
	}{
		"another":                {masterKey("new"), []string{"data key 1", "the master key lost,", "vault.master_key is new", "vault.old", "nothing was changed"}},
		"another under its name": {impostor, []string{"data key 1", "can't be opened with the master key lost"}},
	} {
		v, err := credential.NewVault(t.Context(), credential.Options{Store: s, Master: c.master})
		if err == nil || v != nil {
			t.Fatalf("%s: opened", what)
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v; want %q in it", what, err, want)
			}
		}
	}
	after, err := s.DataKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("data keys (-before +after):\n%s", diff)
	}
	wantValue(t, newVault(t, s, "lost"), secret("x", ""), "s3cret")
}

// away is a KMS that does not answer.
type away struct{ credential.Keeper }

var errAway = errors.New("the KMS is away")

func (away) Encrypt(context.Context, []byte) ([]byte, error) { return nil, errAway }
func (away) Decrypt(context.Context, []byte) ([]byte, error) { return nil, errAway }

func TestAKMSThatIsAwayStoresNothing(t *testing.T) {
	s := newStore(t)
	v, err := credential.NewVault(t.Context(), credential.Options{Store: s, Master: credential.MasterKey{Keeper: away{}, Name: "kms"}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = v.Set(t.Context(), secret("x", ""), []byte("s3cret"))
	if err == nil || !strings.Contains(err.Error(), errAway.Error()) || !strings.Contains(err.Error(), "master key kms") {
		t.Errorf("set: %v", err)
	}
	if _, err := s.SealedValue(t.Context(), secret("x", "")); !errors.Is(err, credential.ErrNotFound) || len(dataKeyIDs(t, s)) != 0 {
		t.Errorf("something was stored: %v", err)
	}
}

// Once a data key is open, no KMS is needed.
func TestAnOpenDataKeyNeedsNoKMS(t *testing.T) {
	s := newStore(t)
	m := masterKey("a")
	counted := &counting{Keeper: m.Keeper}
	m.Keeper = counted
	v, err := credential.NewVault(t.Context(), credential.Options{Store: s, Master: m})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		set(t, v, secret(fmt.Sprint(i), ""), "x")
		wantValue(t, v, secret(fmt.Sprint(i), ""), "x")
	}
	if n := counted.calls.Load(); n != 1 {
		t.Errorf("the master key was used %d times, want 1", n)
	}
}

type counting struct {
	credential.Keeper
	calls atomic.Int32
}

func (c *counting) Encrypt(ctx context.Context, b []byte) ([]byte, error) {
	c.calls.Add(1)
	return c.Keeper.Encrypt(ctx, b)
}

func (c *counting) Decrypt(ctx context.Context, b []byte) ([]byte, error) {
	c.calls.Add(1)
	return c.Keeper.Decrypt(ctx, b)
}

func TestAnEntryIsTakenOnce(t *testing.T) {
	s := newStore(t)
	vaults := []*credential.SealedVault{newVault(t, s, "a"), newVault(t, s, "a")}
	k := credential.Key{Kind: credential.KindFlow, Name: "state"}
	if err := vaults[0].Put(t.Context(), credential.Entry{Key: k, Generation: 1, Value: []byte("x"), ExpiresAt: start.Add(time.Minute)}); err != nil {
		t.Fatal(err)
	}
	var took atomic.Int32
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			switch e, err := vaults[i%2].Take(t.Context(), k); {
			case err == nil && string(e.Value) == "x":
				took.Add(1)
			case !errors.Is(err, credential.ErrNotFound):
				t.Errorf("%q, %v", e.Value, err)
			}
		})
	}
	all.Wait()
	if took.Load() != 1 {
		t.Errorf("%d took it, want 1", took.Load())
	}
}

func TestFlowsThatNobodyCameBackForAreCleared(t *testing.T) {
	s := newStore(t)
	now := start
	v, err := credential.NewVault(t.Context(), credential.Options{Store: s, Master: masterKey("a"), Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	begin := func(name string) {
		t.Helper()
		if err := v.Put(t.Context(), credential.Entry{Key: credential.Key{Kind: credential.KindFlow, Name: name}, Generation: 1, ExpiresAt: now.Add(time.Minute)}); err != nil {
			t.Fatal(err)
		}
	}
	begin("old")
	now = now.Add(time.Minute + time.Microsecond)
	begin("new")
	list, err := v.List(t.Context(), credential.KindFlow)
	if err != nil || len(list) != 1 || list[0].Name != "new" {
		t.Errorf("flows: %v, %v", list, err)
	}
}

func TestALeaseIsAReplicas(t *testing.T) {
	s := newStore(t)
	now := start
	replica := func() *credential.SealedVault {
		v, err := credential.NewVault(t.Context(), credential.Options{Store: s, Master: masterKey("a"), Now: func() time.Time { return now }})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	one, other := replica(), replica()
	k := secret("x", "ada")
	set(t, one, k, "1")
	lease := func(what string, v *credential.SealedVault, generation int64, want bool) {
		t.Helper()
		if got, err := v.Lease(t.Context(), k, generation, time.Minute); got != want || err != nil {
			t.Errorf("%s: %v, %v; want %v", what, got, err, want)
		}
	}
	lease("the first", one, 1, true)
	lease("another meanwhile", other, 1, false)
	lease("the same", one, 1, true)
	now = now.Add(time.Minute)
	lease("another afterwards", other, 1, true)
	lease("the first then", one, 1, false)
	set(t, one, k, "2") // a person's word counts more than a lease
	lease("the generation that is gone", other, 1, false)
	lease("the next", one, 2, true)
}

func TestI6_FormattingAnEntryShowsNoValue(t *testing.T) {
	const canary = "sk_live_c4n4ry"
	e := credential.Entry{Key: secret("stripe", "ada"), Generation: 7, Value: []byte(canary)}
	v := newVault(t, newStore(t), "a")
	set(t, v, e.Key, canary)
	hex := fmt.Sprintf("%x", canary)
	var out bytes.Buffer
	for _, x := range []any{e, &e, []credential.Entry{e}, map[string]credential.Entry{"e": e}, struct{ E credential.Entry }{e}, v} {
		fmt.Fprintf(&out, "%v %+v %#v %s %q %x\n", x, x, x, x, x, x)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "entry", e, "pointer", &e)
	}
	for _, form := range []string{canary, hex, strings.Trim(fmt.Sprintf("%d", []byte(canary)), "[]")} {
		if strings.Contains(out.String(), form) {
			t.Errorf("%s is shown in:\n%s", form, out.String())
		}
	}
	if !strings.Contains(out.String(), `secret "stripe" of "ada", generation 7`) {
		t.Errorf("what it is, is not shown in:\n%s", out.String())
	}
}
