package proxy

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// TestI9_OpenStreamsEndWithTheGrant revokes one of two clients that each have
// an idle stream.
func TestI9_OpenStreamsEndWithTheGrant(t *testing.T) {
	up := newServer(t, func(w http.ResponseWriter, r *http.Request, _ string) {
		say(w, ": open\n\n")
		<-r.Context().Done()
	})
	pdp := &fakePDP{}
	g := newGateway(t, up.URL, pdp)
	alice, bob := g.request(http.MethodGet, ""), g.request(http.MethodGet, "")
	bob.Header.Set("Authorization", "Bearer bob")
	streams := []*reader{g.open(t, alice), g.open(t, bob)}
	for _, s := range streams {
		if got := s.next(); got != ":" {
			t.Fatalf("the stream begins with %q", got)
		}
	}
	pdp.revoke("bob")
	if got := streams[1].next(); got != "end" {
		t.Errorf("the stream of the revoked grant goes on with %q", got)
	}
	if o := pdp.outcome(t, 2); o.GetError() != errExpelled.Error() {
		t.Errorf("on record: %v", o)
	}
	pdp.mu.Lock()
	defer pdp.mu.Unlock()
	if o := pdp.completed["d1"]; o != nil {
		t.Errorf("the other stream has ended: %v", o)
	}
}

// answers makes a vigil that is told what the function says.
func answers(says func() v1.ReasonCode) *vigil {
	return &vigil{recheck: func(context.Context, *v1.Evidence, string) v1.ReasonCode { return says() }}
}

// watch keeps a line and returns how long it lasted, at most until patience ends.
func watch(v *vigil, key vigilKey, patience time.Duration) time.Duration {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	stop := v.keep(key, &v1.Evidence{}, &line{ctx: ctx, cancel: cancel})
	defer stop()
	began := time.Now()
	select {
	case <-ctx.Done():
	case <-time.After(patience):
	}
	return time.Since(began)
}

func TestVigil(t *testing.T) {
	for name, c := range map[string]struct {
		says v1.ReasonCode
		want time.Duration
	}{
		"good":           {v1.ReasonCode_REASON_CODE_UNSPECIFIED, time.Hour},
		"I9 revoked":     {v1.ReasonCode_REASON_CODE_REVOKED_TOKEN, recheckEvery},
		"expired":        {v1.ReasonCode_REASON_CODE_EXPIRED_TOKEN, recheckEvery},
		"not granted":    {v1.ReasonCode_REASON_CODE_SERVER_NOT_GRANTED, recheckEvery},
		"I1 no decision": {v1.ReasonCode_REASON_CODE_PDP_UNAVAILABLE, 13 * recheckEvery},
		"I1 no policy":   {v1.ReasonCode_REASON_CODE_NO_POLICY, 13 * recheckEvery},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := answers(func() v1.ReasonCode { return c.says })
				if got := watch(v, vigilKey{server: "s"}, time.Hour); got != c.want {
					t.Errorf("the stream lasted %v, want %v", got, c.want)
				}
				if v.over != nil || len(v.watched) != 0 {
					t.Error("the vigil goes on over nothing")
				}
				if got := watch(v, vigilKey{server: "s"}, time.Minute); got != min(c.want, time.Minute) {
					t.Errorf("a later stream lasted %v", got)
				}
			})
		})
	}
}

// TestVigilChecksAClientOnce: its streams are one question.
func TestVigilChecksAClientOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		v := answers(func() v1.ReasonCode { asked++; return v1.ReasonCode_REASON_CODE_UNSPECIFIED })
		for range 10 {
			go watch(v, vigilKey{server: "s"}, 10*recheckEvery+time.Millisecond)
		}
		time.Sleep(12 * recheckEvery)
		synctest.Wait()
		if asked != 10 {
			t.Errorf("asked %d times in 10 turns for 10 streams", asked)
		}
	})
}
