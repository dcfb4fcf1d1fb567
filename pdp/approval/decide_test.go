package approval

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

var (
	anna = Approver{ID: "anna", Groups: []string{"finance"}}
	bob  = Approver{ID: "bob", Groups: []string{"finance", "ops"}}
	carl = Approver{ID: "carl"}
)

// office is a book, with what it stands on in sight.
type office struct {
	*Book
	store  *memory
	acts   *acts
	events *[]Event
}

func newOffice() office {
	o := office{store: &memory{}, acts: &acts{}, events: &[]Event{}}
	o.Book = New(o.store, Options{Record: o.acts, Notify: func(e Event) { *o.events = append(*o.events, e) }})
	return o
}

// needs is the refund with other requirements.
func needs(r ...Requirement) Approval {
	a := refund()
	a.Requirements = r
	return a
}

func of(required int, approvers ...string) Requirement { return Requirement{approvers, required} }

func approve(t *testing.T, b *Book, id string, by Approver) Approval {
	t.Helper()
	a, err := b.Approve(t.Context(), id, by, "", "api")
	if err != nil {
		t.Fatalf("%s approves: %v", by.ID, err)
	}
	return a
}

func TestVotesMeetRequirements(t *testing.T) {
	for name, c := range map[string]struct {
		needs []Requirement
		votes []Approver
		want  State
	}{
		"no votes":                              {[]Requirement{of(1)}, nil, Pending},
		"anybody":                               {[]Requirement{of(1)}, []Approver{carl}, Approved},
		"one of a group":                        {[]Requirement{of(1, "group:finance")}, []Approver{anna}, Approved},
		"one by id":                             {[]Requirement{of(1, "dora", "carl")}, []Approver{carl}, Approved},
		"one of two":                            {[]Requirement{of(2, "group:finance")}, []Approver{anna}, Pending},
		"two of two":                            {[]Requirement{of(2, "group:finance")}, []Approver{anna, bob}, Approved},
		"the same one twice":                    {[]Requirement{of(2, "group:finance")}, []Approver{anna, anna}, Pending},
		"the same one in another spelling":      {[]Requirement{of(2, "group:finance")}, []Approver{anna, {ID: "Anna", Groups: anna.Groups}}, Pending},
		"a vote counts for both":                {[]Requirement{of(1, "group:finance"), of(1, "group:ops")}, []Approver{bob}, Approved},
		"each requirement wants its own":        {[]Requirement{of(1, "group:finance"), of(1, "group:ops")}, []Approver{anna}, Pending},
		"one requirement met, the other not":    {[]Requirement{of(2), of(1, "group:ops")}, []Approver{anna, carl}, Pending},
		"all requirements met by three":         {[]Requirement{of(3), of(1, "group:ops")}, []Approver{anna, carl, bob}, Approved},
		"without a requirement, anybody's vote": {nil, []Approver{carl}, Approved},
	} {
		o := newOffice()
		a := request(t, o.Book, needs(c.needs...))
		for _, by := range c.votes {
			a = approve(t, o.Book, a.ID, by)
		}
		if a.State != c.want {
			t.Errorf("%s: %v, want %v", name, a.State, c.want)
		}
		if got, err := o.Get(t.Context(), a.ID); err != nil || got.State != c.want {
			t.Errorf("%s: stored %v, %v; want %v", name, got.State, err, c.want)
		}
	}
}

// A group is no person and a person no group, whatever they are called.
func TestWhoIsEntitled(t *testing.T) {
	for _, c := range []struct {
		approvers []string
		by        Approver
		want      error
	}{
		{[]string{"group:finance"}, carl, ErrNotEntitled},
		{[]string{"group:finance"}, Approver{ID: "group:finance"}, ErrNotEntitled},
		{[]string{"group:finance"}, Approver{ID: "finance"}, ErrNotEntitled},
		{[]string{"group:finance"}, Approver{ID: "x", Groups: []string{"group:finance"}}, ErrNotEntitled},
		{[]string{"group:"}, Approver{ID: "x", Groups: []string{""}}, ErrNotEntitled},
		{[]string{"finance"}, anna, ErrNotEntitled},
		{[]string{"anna"}, Approver{ID: "ann"}, ErrNotEntitled},
		{[]string{""}, Approver{}, ErrNotEntitled},
		{nil, Approver{}, ErrNotEntitled},
		{[]string{"carl"}, carl, nil},
		{[]string{"agent:1"}, Approver{ID: "agent:1"}, ErrOwnCall},
		{nil, Approver{ID: "AGENT:1"}, ErrOwnCall},
		{nil, Approver{ID: "olga"}, ErrOwnCall},
		{[]string{"group:finance"}, Approver{ID: "Olga", Groups: []string{"finance"}}, ErrOwnCall},
	} {
		o := newOffice()
		a := needs(of(1, c.approvers...))
		a.Owner = "olga"
		a = request(t, o.Book, a)
		for what, give := range map[string]vote{"approve": o.Approve, "refuse": o.Refuse} {
			if c.want == nil && what == "refuse" {
				continue // it is approved by now
			}
			if _, err := give(t.Context(), a.ID, c.by, "", "api"); !errors.Is(err, c.want) {
				t.Errorf("%s by %+v of %q: %v, want %v", what, c.by, c.approvers, err, c.want)
			}
		}
		if got, _ := o.Get(t.Context(), a.ID); c.want != nil && (got.State != Pending || len(got.Votes) != 0) {
			t.Errorf("%+v of %q: %v with %d votes", c.by, c.approvers, got.State, len(got.Votes))
		}
	}
}

func TestAnApprovalIsGoodForATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := refund()
		a.Valid = 5 * time.Minute
		a = request(t, o.Book, a)
		time.Sleep(time.Minute)
		now := time.Now().UTC()
		a = approve(t, o.Book, a.ID, anna)
		if a.State != Approved || !a.DecidedAt.Equal(now) || !a.ExpiresAt.Equal(now.Add(5*time.Minute)) {
			t.Errorf("approved: %+v", a)
		}
		if v := a.Votes[0]; v.Person != "anna" || !slices.Equal(v.Groups, anna.Groups) || !v.At.Equal(now) || !v.Approved || v.Via != "api" {
			t.Errorf("vote: %+v", v)
		}
		time.Sleep(5*time.Minute - time.Microsecond)
		if again := request(t, o.Book, refund()); again.ID != a.ID || again.State != Approved {
			t.Errorf("just before its end: %v", again.State)
		}
		time.Sleep(time.Microsecond)
		if _, err := o.Use(t.Context(), a.ID, "d1"); !errors.Is(err, ErrNotApproved) || !strings.Contains(err.Error(), "expired") {
			t.Errorf("used after its end: %v", err)
		}
		if again := request(t, o.Book, refund()); again.ID == a.ID || again.State != Pending {
			t.Errorf("after its end: %v", again.State)
		}
	})
}

func TestI8_AnApprovalIsUsedOnce(t *testing.T) {
	o := newOffice()
	a := request(t, o.Book, refund())
	if got, err := o.Use(t.Context(), a.ID, "d1"); !errors.Is(err, ErrNotApproved) || got.State != Pending {
		t.Errorf("used while pending: %v, %v", got.State, err)
	}
	approve(t, o.Book, a.ID, anna)
	const callers = 32
	var passed atomic.Int32
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			// Each a replica of its own.
			got, err := New(o.store, Options{}).Use(t.Context(), a.ID, fmt.Sprint("d", i))
			switch {
			case err == nil && got.State == Used && got.UsedBy == fmt.Sprint("d", i):
				passed.Add(1)
			case !errors.Is(err, ErrNotApproved) || got.State != Used:
				t.Errorf("caller %d: %v, %v", i, got.State, err)
			}
		})
	}
	wg.Wait()
	if passed.Load() != 1 {
		t.Errorf("%d uses, want 1", passed.Load())
	}
	again := request(t, o.Book, refund())
	if again.ID == a.ID || again.State != Pending || len(again.Votes) != 0 {
		t.Errorf("the call made again: %v with %d votes", again.State, len(again.Votes))
	}
	if _, err := o.Use(t.Context(), "none", "d"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown: %v", err)
	}
}

func TestARefusalStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := request(t, o.Book, refund())
		refused, err := o.Refuse(t.Context(), a.ID, anna, "Ask\nthe customer\u202e first", "console")
		if err != nil || refused.State != Refused || refused.Votes[0].Approved || refused.Votes[0].Reason != "Ask the customer  first" {
			t.Fatalf("%+v, %v", refused, err)
		}
		if !refused.ExpiresAt.Equal(a.ExpiresAt) || !refused.DecidedAt.Equal(time.Now()) {
			t.Errorf("until %v, decided %v", refused.ExpiresAt, refused.DecidedAt)
		}
		if again := request(t, o.Book, needs(of(1, "carl"))); again.ID != a.ID || again.State != Refused || again.Votes[0].Reason == "" {
			t.Errorf("asked again: %+v", again)
		}
		if _, err := o.Use(t.Context(), a.ID, "d"); !errors.Is(err, ErrNotApproved) {
			t.Errorf("used: %v", err)
		}
		if _, err := o.Approve(t.Context(), a.ID, bob, "", "api"); !errors.Is(err, ErrDecided) || !strings.Contains(err.Error(), "refused") {
			t.Errorf("approved afterwards: %v", err)
		}
		time.Sleep(time.Hour)
		if again := request(t, o.Book, refund()); again.ID == a.ID || again.State != Pending {
			t.Errorf("after its time: %v", again.State)
		}
	})
}

func TestOneRefusalOutdoesVotes(t *testing.T) {
	o := newOffice()
	a := request(t, o.Book, needs(of(2)))
	approve(t, o.Book, a.ID, anna)
	if got, err := o.Refuse(t.Context(), a.ID, anna, "on second thoughts", "api"); err != nil || got.State != Refused || len(got.Votes) != 2 {
		t.Errorf("%v with %d votes, %v", got.State, len(got.Votes), err)
	}
}

// The policy in force when the call is made again has the last word on who has
// to approve it.
func TestI8_VotesAreHeldAgainstThePolicyInForce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := request(t, o.Book, needs(of(1, "group:finance")))
		approve(t, o.Book, a.ID, bob)

		stricter := needs(of(1, "group:finance"), of(2, "group:ops"))
		stricter.Policy, stricter.Reason = Policy{"r2", "sha256:2"}, "Now ops has a say"
		stricter.ExpiresAt = time.Now().Add(time.Minute)
		got := request(t, o.Book, stricter)
		if got.ID != a.ID || got.State != Pending || len(got.Votes) != 1 || got.Reason != "Now ops has a say" || got.Policy.Revision != "r2" ||
			!got.DecidedAt.IsZero() || !got.ExpiresAt.Equal(stricter.ExpiresAt) {
			t.Fatalf("under a stricter policy: %+v", got)
		}
		if _, err := o.Use(t.Context(), a.ID, "d1"); !errors.Is(err, ErrNotApproved) {
			t.Errorf("used with too few votes: %v", err)
		}
		// The vote that was given counts on; only one more is needed.
		got = approve(t, o.Book, a.ID, Approver{ID: "dora", Groups: []string{"ops"}})
		if got.State != Approved || len(got.Votes) != 2 {
			t.Fatalf("with a second of ops: %+v", got)
		}
		if again := request(t, o.Book, stricter); again.State != Approved {
			t.Errorf("asked again: %v", again.State)
		}

		// A new revision that asks for the same changes nothing.
		same := stricter
		same.Policy = Policy{"r3", "sha256:3"}
		if again := request(t, o.Book, same); again.State != Approved || again.Policy.Revision != "r3" || !again.ExpiresAt.Equal(got.ExpiresAt) {
			t.Errorf("under a policy that asks for the same: %+v", again)
		}
		if _, err := o.Use(t.Context(), a.ID, "d1"); err != nil {
			t.Error(err)
		}
	})
}

func TestAPolicyThatAsksForLessIsMetByTheVotes(t *testing.T) {
	o := newOffice()
	a := request(t, o.Book, needs(of(2)))
	approve(t, o.Book, a.ID, anna)
	if got := request(t, o.Book, needs(of(1))); got.ID != a.ID || got.State != Approved || got.DecidedAt.IsZero() {
		t.Errorf("%+v", got)
	}
}

func TestVotesOnWhatIsNotPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOffice()
		a := request(t, o.Book, refund())
		approve(t, o.Book, a.ID, anna)
		if _, err := o.Approve(t.Context(), a.ID, bob, "", "api"); !errors.Is(err, ErrDecided) {
			t.Errorf("approved by another: %v", err)
		}
		if _, err := o.Refuse(t.Context(), a.ID, bob, "", "api"); !errors.Is(err, ErrDecided) {
			t.Errorf("refused: %v", err)
		}
		// Whoever missed the answer may ask again.
		if got, err := o.Approve(t.Context(), a.ID, anna, "", "api"); err != nil || got.State != Approved || len(got.Votes) != 1 {
			t.Errorf("approved by the same again: %+v, %v", got, err)
		}
		late := refund()
		late.Name = "other"
		late = request(t, o.Book, late)
		time.Sleep(time.Hour)
		for what, give := range map[string]vote{"approve": o.Approve, "refuse": o.Refuse} {
			if _, err := give(t.Context(), late.ID, anna, "", "api"); !errors.Is(err, ErrDecided) || !strings.Contains(err.Error(), "expired") {
				t.Errorf("%s too late: %v", what, err)
			}
		}
		if _, err := o.Approve(t.Context(), "none", anna, "", "api"); !errors.Is(err, ErrNotFound) {
			t.Errorf("unknown: %v", err)
		}
	})
}

func TestConcurrentVotesBothCount(t *testing.T) {
	o := newOffice()
	const voters = 20
	a := request(t, o.Book, needs(of(voters)))
	var decided atomic.Int32
	var wg sync.WaitGroup
	for i := range voters {
		wg.Go(func() {
			got, err := New(o.store, Options{Record: o.acts}).Approve(t.Context(), a.ID, Approver{ID: fmt.Sprint("p", i)}, "", "api")
			if err != nil {
				t.Errorf("voter %d: %v", i, err)
			}
			if got.State == Approved {
				decided.Add(1)
			}
		})
	}
	wg.Wait()
	if got, _ := o.Get(t.Context(), a.ID); got.State != Approved || len(got.Votes) != voters || decided.Load() != 1 {
		t.Errorf("%v with %d votes, decided %d times", got.State, len(got.Votes), decided.Load())
	}
}

func TestARecordIsBounded(t *testing.T) {
	o := newOffice()
	for _, r := range []Requirement{{Required: 0}, {Required: -1}, {Required: maxVotes + 1}} {
		if got, err := o.Request(t.Context(), needs(r)); err == nil || got.ID != "" {
			t.Errorf("%d required: %v", r.Required, got.ID)
		}
	}
	if _, err := o.Request(t.Context(), needs(make([]Requirement, maxRequirements+1)...)); err == nil {
		t.Error("too many requirements")
	}
	a := request(t, o.Book, needs(of(maxVotes, "group:a"), of(1, "group:b")))
	for i := range maxVotes {
		approve(t, o.Book, a.ID, Approver{ID: fmt.Sprint(i), Groups: []string{"a"}})
	}
	if _, err := o.Approve(t.Context(), a.ID, Approver{ID: "more", Groups: []string{"b"}}, "", "api"); !errors.Is(err, ErrTooManyVotes) {
		t.Errorf("one vote too many: %v", err)
	}
	got, err := o.Refuse(t.Context(), a.ID, Approver{ID: "more", Groups: []string{"b"}}, strings.Repeat("é", 10_000), "api")
	if err != nil || got.State != Refused {
		t.Errorf("refused: %v, %v", got.State, err)
	}
	if reason := got.Votes[maxVotes].Reason; len(reason) > maxReason || !strings.HasSuffix(reason, "é…") {
		t.Errorf("a reason of %d bytes", len(reason))
	}
}

func TestReasonsAreInert(t *testing.T) {
	for given, want := range map[string]string{
		"":                        "",
		"  plain – ok ":           "plain – ok",
		"a\r\nb\tc":               "a  b c",
		"\x1b[31mred\x00":         "[31mred",
		"a\u202eb\u200bc\ufeff":   "a b c",
		"a\xffb":                  "a b",
		"<script>&\"' stays text": "<script>&\"' stays text",
	} {
		if got := words(given); got != want {
			t.Errorf("%q becomes %q, want %q", given, got, want)
		}
	}
}
