package credential

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func headers(t *testing.T, s *Static, server string) []Header {
	t.Helper()
	m, err := s.For(t.Context(), Request{Server: server})
	if err != nil {
		t.Fatal(err)
	}
	return m.Headers
}

func TestFor(t *testing.T) {
	given := map[string][]Header{
		"stripe": {{Name: "Authorization", Value: "Bearer a"}, {Name: "X-Account", Value: "b"}},
	}
	s := NewStatic(given)
	want := []Header{{Name: "Authorization", Value: "Bearer a"}, {Name: "X-Account", Value: "b"}}

	given["stripe"][0].Value = "changed after"
	if diff := cmp.Diff(want, headers(t, s, "stripe")); diff != "" {
		t.Errorf("headers (-want +got):\n%s", diff)
	}
	headers(t, s, "stripe")[0].Value = "changed by a caller"
	if diff := cmp.Diff(want, headers(t, s, "stripe")); diff != "" {
		t.Errorf("headers after a caller changed its own (-want +got):\n%s", diff)
	}
}

// One server's credentials never go to another, whatever the names look like.
func TestForAnUnknownServer(t *testing.T) {
	s := NewStatic(map[string][]Header{"stripe": {{Name: "Authorization", Value: "Bearer a"}}})
	for _, name := range []string{"", "Stripe", "stripe ", "strip", "*"} {
		if got := headers(t, s, name); len(got) != 0 {
			t.Errorf("%q is given %d headers", name, len(got))
		}
	}
	var none Static
	if got := headers(t, &none, "stripe"); len(got) != 0 {
		t.Error("the zero value has headers")
	}
}

func TestI6_FormattingShowsNoValue(t *testing.T) {
	const secret = "sk_live_c4n4ry"
	h := Header{Name: "Authorization", Value: secret}
	s := NewStatic(map[string][]Header{"stripe": {h}})
	var out bytes.Buffer
	for _, v := range []any{h, &h, []Header{h}, map[string]Header{"h": h}, s, struct{ H Header }{h}} {
		fmt.Fprintf(&out, "%v %+v %#v %s\n", v, v, v, v)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "header", h, "pointer", &h, "store", s)
	}
	if strings.Contains(out.String(), secret) {
		t.Errorf("shown in:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "Authorization") {
		t.Error("the header's name is not shown")
	}
}
