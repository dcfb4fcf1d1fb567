package identity

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxBelow bounds the active grants that the holder of one makes right below it.
const maxBelow = 256

// Create stores a new grant and returns it with its token, which cannot be had
// again; a grant that is held has none. What only the package may say of g is
// passed over: its id, times and counts. A subject without a type is an agent. The
// error wraps ErrInvalidGrant when g is at fault.
//
// With a Parent, g must be no wider than that, as far as can be told, and what it
// leaves empty is the parent's; whatever it says, a call has to be covered by both.
func (a *Authenticator) Create(ctx context.Context, g Grant) (Grant, string, error) {
	if g.Parent == "" {
		return a.create(ctx, g)
	}
	parent, err := a.store.Grant(ctx, g.Parent)
	if errors.Is(err, ErrNotFound) {
		return Grant{}, "", invalid("there is no grant %q to make it from", clip(g.Parent))
	}
	if err != nil {
		return Grant{}, "", fmt.Errorf("read grant %s: %w", clip(g.Parent), err)
	}
	now := a.now()
	if r := parent.refusal(now); r != nil && r.Code != NotYetValid {
		return Grant{}, "", invalid("no grant can be made from %s: %s", parent.ID, r.Reason)
	}
	if _, err := a.above(ctx, &parent.Grant, now); err != nil {
		refusal := (*Refusal)(nil)
		if errors.As(err, &refusal) && refusal.Code != NotYetValid {
			return Grant{}, "", invalid("no grant can be made from %s: %s", parent.ID, refusal.Reason)
		}
		if refusal == nil {
			return Grant{}, "", err
		}
	}
	g.inherit(&parent.Grant)
	if err := g.within(&parent.Grant); err != nil {
		return Grant{}, "", err
	}
	return a.create(ctx, g)
}

// Withdraw ends a grant whose token nobody has seen, because of cause, which it
// returns; with what kept the grant from ending, if anything did.
func (a *Authenticator) Withdraw(ctx context.Context, id string, cause error) error {
	if _, err := a.Revoke(context.WithoutCancel(ctx), id); err != nil {
		return fmt.Errorf("%w; the grant could not be revoked: %w", cause, err)
	}
	return cause
}

// Delegate stores a grant that the holder of another one makes below it, as Create
// does for an administrator. Of want, the subject, what it covers, its times, uses
// and delegations count. What rules go by is not for the holder to say: the subject
// is named below the holder ("bot" makes "bot/helper"), so that no rule, quota or
// account of another is its own; groups are some of the holder's, labels are its
// grant's, and nobody is made a person.
//
// The error is a *Refusal when who may not delegate, and wraps ErrInvalidGrant when
// want is at fault.
func (a *Authenticator) Delegate(ctx context.Context, who *Identity, want Grant) (Grant, string, error) {
	if who.Grant == nil {
		return Grant{}, "", &Refusal{Code: NotGranted, Reason: "only the holder of a grant can make one below it", Subject: &who.Subject}
	}
	parent := who.Grant
	if want.Subject.ID != "" && !isSelf(who, &want) {
		want.Subject.ID = below(who.Subject.ID, want.Subject.ID)
	}
	if parent.Delegations == 0 {
		return Grant{}, "", &Refusal{Code: NotGranted, Reason: "no grant may be made below this one", GrantID: parent.ID, Subject: &who.Subject}
	}
	g := Grant{
		Subject: Subject{ID: want.Subject.ID, Type: want.Subject.Type, Groups: want.Subject.Groups},
		Owner:   parent.Owner, Servers: want.Servers, Tools: want.Tools, Classes: want.Classes, Policies: want.Policies,
		Labels: parent.Labels, MaxUses: want.MaxUses, Parent: parent.ID, Delegations: want.Delegations,
		NotBefore: want.NotBefore, ExpiresAt: want.ExpiresAt,
	}
	if g.Owner == "" && who.Subject.Type == Person {
		g.Owner = who.Subject.ID // who hands out a call must not approve it
	}
	if err := delegable(who, &want); err != nil {
		return Grant{}, "", err
	}
	siblings, err := a.store.Grants(ctx, Query{Limit: maxBelow, ActiveAt: a.now(), Parent: parent.ID})
	switch {
	case err != nil:
		return Grant{}, "", fmt.Errorf("count the grants below %s: %w", parent.ID, err)
	case len(siblings) == maxBelow:
		return Grant{}, "", invalid("%d grants stand right below this one, which is as many as there may be; wait until some expire", maxBelow)
	}
	return a.Create(ctx, g)
}

// delegable holds what rules may go by to what the holder has itself.
func delegable(who *Identity, want *Grant) error {
	for _, group := range want.Subject.Groups {
		if !slices.Contains(who.Subject.Groups, group) {
			return invalid("group %q: whoever makes a grant below its own can pass on its own groups only", clip(group))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want.Labels)) {
		if value, has := who.Grant.Labels[key]; !has || value != want.Labels[key] {
			return invalid("label %q: a grant below another has the labels of that one", clip(key))
		}
	}
	switch {
	case want.Subject.Type == Person && !isSelf(who, want):
		return invalid("only an administrator makes grants for persons")
	case want.Subject.Type == Workload && who.Subject.Type != Workload:
		return invalid("only an administrator, and a workload, makes grants for workloads")
	}
	return nil
}

// isSelf says whether a person wants a weaker grant for itself.
func isSelf(who *Identity, want *Grant) bool {
	return want.Subject.Type == Person && who.Subject.Type == Person && who.Subject.ID == want.Subject.ID
}

// below is the id of a subject that a holder has named, which may have written it
// whole.
func below(holder, id string) string {
	if strings.HasPrefix(id, holder+"/") {
		return id
	}
	return holder + "/" + id
}

// inherit takes what is left empty from the grant above.
func (g *Grant) inherit(parent *Grant) {
	if len(g.Servers) == 0 {
		g.Servers = parent.Servers
	}
	if len(g.Tools) == 0 {
		g.Tools = parent.Tools
	}
	if len(g.Classes) == 0 {
		g.Classes = parent.Classes
	}
	if g.Owner == "" {
		g.Owner = parent.Owner
	}
	if g.ExpiresAt.IsZero() {
		g.ExpiresAt = parent.ExpiresAt
	}
}

func (a *Authenticator) create(ctx context.Context, g Grant) (Grant, string, error) {
	if g.Subject.Type == "" {
		g.Subject.Type = Agent
	}
	now := a.stamp()
	g.NotBefore, g.ExpiresAt = toStamp(g.NotBefore), toStamp(g.ExpiresAt)
	if err := g.validate(now); err != nil {
		return Grant{}, "", err
	}
	// A grant names its subject; nobody vouches for it.
	g.Subject = Subject{ID: g.Subject.ID, Type: g.Subject.Type, Groups: g.Subject.Groups}
	id, token := newToken()
	g.ID, g.CreatedAt, g.RevokedAt, g.RotatedAt = id, now, time.Time{}, time.Time{}
	g.Uses, g.Calls, g.Denials, g.LastUsedAt = 0, 0, 0, time.Time{}
	r := Record{Grant: g, TokenDigest: digestOf(token)}
	if g.Held {
		r.TokenDigest, token = digest{}, ""
		defer a.held.forget(g.Subject.ID)
	}
	if err := a.store.InsertGrant(ctx, r); err != nil {
		return Grant{}, "", fmt.Errorf("store the grant: %w", err)
	}
	return g, token, nil
}

// toStamp is the time as stores keep it.
func toStamp(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return t.UTC().Truncate(time.Microsecond)
}
