package replicas

import (
	"context"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// grant is a grant as somebody outside knows it.
type grant struct {
	id, token string
	// forged is one that no replica has ever given out.
	forged bool
	// doubtful: somebody wants it revoked. Until that is answered nobody knows.
	doubtful atomic.Bool
	// revoked is when a replica had answered that it is.
	revoked atomic.Pointer[time.Time]
}

// wrong says what is wrong with a call under the grant being allowed that was
// sent at that time, or "".
func (g *grant) wrong(sent time.Time) string {
	at := g.revoked.Load()
	switch {
	case g.forged:
		return "a token that nobody has given out"
	case at != nil && sent.Sub(*at) > time.Second:
		return "a grant that was revoked " + sent.Sub(*at).String() + " before the call"
	}
	return ""
}

// live says whether calls under the grant must be allowed.
func (g *grant) live() bool { return !g.forged && !g.doubtful.Load() }

// create makes a grant through the replica. An error means that there may be
// one, of which nobody has the token.
func (r replica) create(ctx context.Context) (*grant, error) {
	ctx, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	res, err := r.grants.CreateGrant(ctx, &v1.CreateGrantRequest{Subject: &v1.Subject{Id: "ada", Type: "person"}, Servers: []string{"up"}})
	if err != nil {
		return nil, err
	}
	return &grant{id: res.GetGrant().GetId(), token: res.GetToken()}, nil
}

// revoke takes the grant back through the replica.
func (r replica) revoke(ctx context.Context, g *grant) error {
	g.doubtful.Store(true)
	ctx, cancel := context.WithTimeout(ctx, enough)
	defer cancel()
	if _, err := r.grants.RevokeGrant(ctx, &v1.RevokeGrantRequest{Id: g.id}); err != nil {
		return err
	}
	now := time.Now()
	g.revoked.CompareAndSwap(nil, &now)
	return nil
}

// grants makes n of them through random replicas.
func grants(t *testing.T, all []replica, n int) []*grant {
	t.Helper()
	out := make([]*grant, n)
	var next atomic.Int64
	together(8, func(int) {
		for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
			g, err := anyOf(all).create(t.Context())
			if err != nil {
				t.Error(err)
				g = &grant{}
			}
			out[i] = g
		}
	})
	if t.Failed() {
		t.FailNow()
	}
	return out
}

// forgeries are tokens that look like those of grants: one of another
// installation, and what somebody makes of one that he has.
func forgeries(t *testing.T, g *grant) []*grant {
	t.Helper()
	foreign := prepare(t, 1, nil, nil)[0]
	foreign.PDPUp(t)
	other, err := foreign.create(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	foreign.Process.Kill()
	last := "0"
	if strings.HasSuffix(g.token, last) {
		last = "1"
	}
	return []*grant{{token: other.token, forged: true}, {token: g.token[:len(g.token)-1] + last, forged: true}, {forged: true}}
}

// settled holds what every replica says of the grants in the end against what is
// known of them.
func settled(t *testing.T, all []replica, known []*grant) {
	t.Helper()
	together(len(all), func(i int) {
		wrong := 0
		for _, g := range known {
			err := all[i].allows(t.Context(), g)
			over := g.forged || g.revoked.Load() != nil
			refused := err != nil && (strings.Contains(err.Error(), "_TOKEN") || strings.Contains(err.Error(), "UNAUTHENTICATED"))
			if over && refused || !over && err == nil || !over && !g.live() {
				continue
			}
			if wrong++; wrong <= 3 {
				t.Errorf("in the end, replica %d says of grant %q (revoked or forged: %t): %v", i, g.id, over, err)
			}
		}
		if wrong > 3 {
			t.Errorf("in the end, replica %d is wrong about %d of %d grants", i, wrong, len(known))
		}
	})
}

func anyOf[T any](all []T) T { return all[rand.IntN(len(all))] }
