package approval

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The model of approvals: what they mean, told as simply as can be. Votes are
// given by five persons, of whom one is the subject and one its owner.

var modelPersons = map[string][]string{
	"anna": {"a"}, "bert": {"a", "b"}, "cleo": {"b"}, "subject": {"a", "b"}, "owner": {"a", "b"},
}

// modelNeed is a requirement: so many of a group, of everybody, or a person.
type modelNeed struct {
	who string // "a", "b", "*" or a person
	n   int
}

func (n modelNeed) covers(person string) bool {
	return n.who == "*" || n.who == person || slices.Contains(modelPersons[person], n.who)
}

func (n modelNeed) requirement() Requirement {
	switch n.who {
	case "*":
		return of(n.n)
	case "a", "b":
		return of(n.n, "group:"+n.who)
	}
	return of(n.n, n.who)
}

// modelRecord is one approval.
type modelRecord struct {
	needs   []modelNeed
	yes     map[string]bool
	refused bool
	used    bool
	// approvedAt is zero while it waits.
	approvedAt time.Time
	openUntil  time.Time
}

const modelValid = 10 * time.Minute

func (r *modelRecord) enough() bool {
	for _, need := range r.needs {
		n := 0
		for person := range r.yes {
			if need.covers(person) {
				n++
			}
		}
		if n < need.n {
			return false
		}
	}
	return true
}

func (r *modelRecord) state(now time.Time) State {
	end := r.openUntil
	if !r.approvedAt.IsZero() {
		end = r.approvedAt.Add(modelValid)
	}
	switch {
	case r.used:
		return Used
	case !now.Before(end):
		return Expired
	case r.refused:
		return Refused
	case !r.approvedAt.IsZero():
		return Approved
	}
	return Pending
}

// settle approves what has its votes, and takes back what has them no more.
func (r *modelRecord) settle(now, openUntil time.Time) {
	switch {
	case r.enough() && r.approvedAt.IsZero():
		r.approvedAt = now
	case !r.enough() && !r.approvedAt.IsZero():
		r.approvedAt, r.openUntil = time.Time{}, openUntil
	}
}

// machine runs books over one store beside the model.
type machine struct {
	books   []*Book
	now     time.Time
	records map[string]*modelRecord // by id
	last    map[string]string       // the id of each call's last record
	uses    map[string]int          // by id
}

func (m *machine) book(t *rapid.T) *Book { return rapid.SampledFrom(m.books).Draw(t, "book") }

func (m *machine) id(t *rapid.T) string {
	if len(m.records) == 0 {
		t.Skip("no record yet")
	}
	return rapid.SampledFrom(slices.Sorted(maps.Keys(m.records))).Draw(t, "id")
}

func (m *machine) request(t *rapid.T) {
	call := rapid.SampledFrom([]string{"x", "y"}).Draw(t, "call")
	needs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) modelNeed {
		return modelNeed{rapid.SampledFrom([]string{"a", "b", "*", "cleo", "subject", "owner"}).Draw(t, "who"), rapid.IntRange(1, 3).Draw(t, "n")}
	}), 1, 2).Draw(t, "needs")
	until := m.now.Add(time.Duration(rapid.IntRange(1, 30).Draw(t, "minutes")) * time.Minute)
	a := Approval{
		Subject: Subject{ID: "subject", Type: "agent"}, Owner: "owner", GrantID: "g", Server: "s", Method: "tools/call", Name: call,
		ExpiresAt: until, Valid: modelValid,
	}
	for _, n := range needs {
		a.Requirements = append(a.Requirements, n.requirement())
	}
	got, err := m.book(t).Request(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	r, stands := m.records[m.last[call]], false
	if r != nil {
		stands = r.state(m.now).Stands()
	}
	if stands != (got.ID == m.last[call]) {
		t.Fatalf("the record of the call stands: %v, and the call was given %s of %s", stands, got.ID, m.last[call])
	}
	switch {
	case !stands:
		r = &modelRecord{needs: needs, yes: map[string]bool{}, openUntil: until}
		m.records[got.ID], m.last[call] = r, got.ID
	case !r.refused:
		r.needs = needs
		r.settle(m.now, until)
	}
	m.same(t, &got)
}

func (m *machine) approve(t *rapid.T) { m.vote(t, true) }
func (m *machine) refuse(t *rapid.T)  { m.vote(t, false) }

func (m *machine) vote(t *rapid.T, yes bool) {
	id, person := m.id(t), rapid.SampledFrom(slices.Sorted(maps.Keys(modelPersons))).Draw(t, "person")
	b, r := m.book(t), m.records[id]
	give := b.Refuse
	if yes {
		give = b.Approve
	}
	_, err := give(t.Context(), id, Approver{person, modelPersons[person]}, "", "")
	entitled := person != "subject" && person != "owner" && slices.ContainsFunc(r.needs, func(n modelNeed) bool { return n.covers(person) })
	if err == nil && !entitled {
		t.Fatalf("%s voted", person)
	}
	state := r.state(m.now)
	if wants := state == Pending && entitled; wants && err != nil {
		t.Fatalf("%s, of a pending one: %v", person, err)
	}
	if err != nil || state != Pending {
		return // a repeated vote, at most
	}
	if yes {
		r.yes[person] = true
		r.settle(m.now, r.openUntil)
	} else {
		r.refused = true
	}
}

func (m *machine) use(t *rapid.T) {
	id := m.id(t)
	r := m.records[id]
	_, err := m.book(t).Use(t.Context(), id, "d")
	if may := r.state(m.now) == Approved; may != (err == nil) {
		t.Fatalf("%v: %v", r.state(m.now), err)
	}
	if err != nil {
		if !errors.Is(err, ErrNotApproved) {
			t.Fatal(err)
		}
		return
	}
	m.uses[id]++
	switch {
	case m.uses[id] > 1:
		t.Fatalf("used %d times", m.uses[id])
	case !r.enough() || r.refused:
		t.Fatalf("used without its votes: %+v", r)
	case r.yes["subject"] || r.yes["owner"]:
		t.Fatal("used by the vote of whose call it is")
	}
	r.used = true
}

func (m *machine) wait(t *rapid.T) {
	m.now = m.now.Add(time.Duration(rapid.IntRange(1, 20).Draw(t, "minutes")) * time.Minute)
}

// same compares one record with the model.
func (m *machine) same(t *rapid.T, a *Approval) {
	r := m.records[a.ID]
	if a.State != r.state(m.now) {
		t.Fatalf("%s is %v, in the model %v: %+v", a.Name, a.State, r.state(m.now), r)
	}
	yes := map[string]bool{}
	for _, v := range a.Votes {
		if v.Approved {
			yes[v.Person] = true
		}
	}
	if !maps.Equal(yes, r.yes) {
		t.Fatalf("votes %v, in the model %v", yes, r.yes)
	}
}

func (m *machine) check(t *rapid.T) {
	for _, b := range m.books {
		list, err := b.List(t.Context(), 1000, true)
		if err != nil || len(list) != len(m.records) {
			t.Fatalf("%d records, in the model %d; %v", len(list), len(m.records), err)
		}
		for i := range list {
			m.same(t, &list[i])
		}
	}
}

// I8, against the model: whatever comes in whatever order, over two replicas,
// no approval is used twice, without its votes, or by the vote of whose call it is.
func TestI8_AgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := &machine{
			now: sealTime, records: map[string]*modelRecord{}, last: map[string]string{}, uses: map[string]int{},
		}
		store := &memory{}
		for range 2 {
			m.books = append(m.books, New(store, Options{Record: &acts{}, Now: func() time.Time { return m.now }}))
		}
		t.Repeat(map[string]func(*rapid.T){
			"request": m.request, "request again": m.request, "approve": m.approve, "approve more": m.approve, "refuse": m.refuse,
			"use": m.use, "wait": m.wait, "": m.check,
		})
	})
}

// The model reaches what it is for.
func TestTheModelUsesApprovals(t *testing.T) {
	r := &modelRecord{needs: []modelNeed{{"a", 1}, {"cleo", 1}}, yes: map[string]bool{"anna": true}, openUntil: sealTime.Add(time.Hour)}
	r.settle(sealTime, sealTime)
	if r.state(sealTime) != Pending {
		t.Error(fmt.Sprint("approved too early: ", r.state(sealTime)))
	}
	r.yes["cleo"] = true
	r.settle(sealTime, sealTime)
	if r.state(sealTime) != Approved || r.state(sealTime.Add(modelValid)) != Expired {
		t.Error("not approved")
	}
}
