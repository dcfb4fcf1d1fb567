package console_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mcpermit/mcpermit/pdp/console"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

func TestCreateSignInLink(t *testing.T) {
	k := newKit(t)
	for _, c := range []struct {
		names  []string // nil: over a socket
		person string
		code   codes.Code
	}{
		{nil, "abel", codes.OK},
		{nil, "", codes.NotFound},
		{nil, "mallory", codes.NotFound},
		{[]string{"abel", "x"}, "abel", codes.OK},
		{[]string{"abel"}, "ada", codes.PermissionDenied},
		{[]string{"abel"}, "", codes.PermissionDenied},
		{[]string{"mallory"}, "mallory", codes.NotFound},
		{[]string{}, "ada", codes.PermissionDenied},
	} {
		s := console.NewService(k.console, func(context.Context) []string { return c.names })
		res, err := s.CreateSignInLink(t.Context(), &v1.CreateSignInLinkRequest{Person: c.person})
		if status.Code(err) != c.code {
			t.Errorf("%v as %q: %v, want %v", c.names, c.person, err, c.code)
		}
		if err != nil {
			continue
		}
		u, err := url.Parse(res.GetUrl())
		if err != nil || res.GetPerson() != c.person || res.GetExpiresAt().AsTime().Sub(k.clock()).Minutes() != 10 {
			t.Errorf("%v, %v", res, err)
		}
		b := k.browser()
		b.follow(u.RequestURI()).leads("/")
		b.get("/approvals").is(http.StatusOK, "Abel Approver")
	}
}
