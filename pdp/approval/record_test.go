package approval

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestEveryAttemptIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := needs(of(2, "group:finance"))
		a.Owner = "olga"
		a = request(t, o.Book, a)
		_, _ = o.Approve(t.Context(), a.ID, Approver{ID: "agent:1"}, "mine", "api")
		_, _ = o.Refuse(t.Context(), a.ID, Approver{ID: "olga", Groups: []string{"finance"}}, "", "console")
		_, _ = o.Approve(t.Context(), a.ID, carl, "", "cli")
		_, _ = o.Approve(t.Context(), a.ID, anna, "fine\n", "console")
		_, _ = o.Approve(t.Context(), a.ID, anna, "", "console")
		_, _ = o.Refuse(t.Context(), a.ID, bob, "no", "cli")
		_, _ = o.Approve(t.Context(), a.ID, anna, "", "console")
		want := []string{
			"approve: own call", "refuse: own call", "approve: not entitled", "approve: taken", "approve: repeated",
			"refuse: taken", "approve: already decided",
		}
		if got := o.acts.results(); !slices.Equal(got, want) {
			t.Errorf("acts %q,\nwant %q", got, want)
		}
		if got := o.acts.list[3]; got != (Act{time.Now().UTC(), "anna", "console", "approve", a.ID, "taken", "fine"}) {
			t.Errorf("act: %+v", got)
		}
	})
}

// There is no vote without a record.
func TestI5_AVoteThatCannotBeRecordedIsNotTaken(t *testing.T) {
	o := newOffice()
	a := request(t, o.Book, refund())
	o.acts.away = errAway
	for name, b := range map[string]*Book{"the recorder is away": o.Book, "there is none": New(o.store, Options{})} {
		for what, give := range map[string]vote{"approve": b.Approve, "refuse": b.Refuse} {
			if _, err := give(t.Context(), a.ID, anna, "", "api"); !errors.Is(err, ErrUnrecorded) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
	}
	if got, _ := o.Get(t.Context(), a.ID); got.State != Pending || len(got.Votes) != 0 {
		t.Errorf("%v with %d votes", got.State, len(got.Votes))
	}
}

// meddler is a recorder that does something between the record and the vote.
type meddler struct {
	*acts
	meddle func()
}

func (m *meddler) Act(ctx context.Context, a Act) error {
	err := m.acts.Act(ctx, a)
	if meddle := m.meddle; meddle != nil {
		m.meddle = nil
		meddle()
	}
	return err
}

// What was recorded as taken and then was not is put right.
func TestAVoteThatCameTooLateIsOnRecordAsSuch(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(t *testing.T, o office, id string)
		want   string
		err    error
	}{
		"another refused meanwhile": {func(t *testing.T, o office, id string) {
			if _, err := o.Refuse(t.Context(), id, bob, "", "api"); err != nil {
				t.Error(err)
			}
		}, "approve: already decided", ErrDecided},
		"it expired meanwhile": {func(*testing.T, office, string) { time.Sleep(time.Hour) }, "approve: already decided", ErrDecided},
		"the policy wants others now": {func(t *testing.T, o office, _ string) {
			request(t, o.Book, needs(of(1, "group:ops")))
		}, "approve: not entitled", ErrNotEntitled},
		"the store went away": {func(_ *testing.T, o office, _ string) { o.store.away = errAway }, "approve: unknown", errAway},
		"the same vote came another way": {func(t *testing.T, o office, id string) {
			approve(t, New(o.store, Options{Record: &acts{}}), id, anna)
		}, "approve: repeated", nil},
	} {
		synctest.Test(t, func(t *testing.T) {
			o := newOffice()
			a := request(t, o.Book, refund())
			m := &meddler{acts: o.acts, meddle: func() { c.meddle(t, o, a.ID) }}
			got, err := New(o.store, Options{Record: m}).Approve(t.Context(), a.ID, anna, "", "api")
			if !errors.Is(err, c.err) {
				t.Errorf("%s: %v, want %v", name, err, c.err)
			}
			if c.err != nil && got.State == Approved {
				t.Errorf("%s: approved", name)
			}
			results := o.acts.results()
			if results[0] != "approve: taken" || results[len(results)-1] != c.want {
				t.Errorf("%s: acts %q, want %q last", name, results, c.want)
			}
		})
	}
}

// A store that fails after it has taken a vote is asked again what it has.
func TestAVoteThatTheStoreTookAllTheSame(t *testing.T) {
	o := newOffice()
	a := request(t, o.Book, refund())
	got, err := New(deaf{o.store}, Options{Record: o.acts}).Approve(t.Context(), a.ID, anna, "", "api")
	if err != nil || got.State != Approved {
		t.Errorf("%v, %v", got.State, err)
	}
	if got := o.acts.results(); !slices.Equal(got, []string{"approve: taken"}) {
		t.Errorf("acts %q", got)
	}
}

// deaf stores changes and reports an error.
type deaf struct{ *memory }

func (d deaf) ChangeApproval(ctx context.Context, id string, change func(a *Approval) error) (Approval, error) {
	if _, err := d.memory.ChangeApproval(ctx, id, change); err != nil {
		return Approval{}, err
	}
	return Approval{}, errAway
}

func TestEvents(t *testing.T) {
	o := newOffice()
	a := request(t, o.Book, needs(of(2)))
	request(t, o.Book, needs(of(2)))
	approve(t, o.Book, a.ID, anna)
	approve(t, o.Book, a.ID, anna)
	_, _ = o.Approve(t.Context(), a.ID, Approver{ID: "agent:1"}, "", "api")
	approve(t, o.Book, a.ID, bob)
	request(t, o.Book, needs(of(3)))
	request(t, o.Book, needs(of(2)))
	if _, err := o.Use(t.Context(), a.ID, "d"); err != nil {
		t.Fatal(err)
	}
	_, _ = o.Use(t.Context(), a.ID, "d")
	b := request(t, o.Book, refund())
	if _, err := o.Refuse(t.Context(), b.ID, anna, "", "api"); err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range *o.events {
		got = append(got, fmt.Sprint(e.Kind, " ", e.Approval.State))
	}
	want := []string{
		"opened pending", "vote pending", "decided approved", "opened pending", "decided approved", "used used",
		"opened pending", "decided refused",
	}
	if !slices.Equal(got, want) {
		t.Errorf("events %q,\nwant %q", got, want)
	}
}
