package credential

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

func TestI6_FormattingShowsNoValue(t *testing.T) {
	const secret = "sk_live_c4n4ry"
	h := Header{Name: "Authorization", Value: secret}
	var out bytes.Buffer
	for _, v := range []any{h, &h, []Header{h}, map[string]Header{"h": h}, struct{ H Header }{h}} {
		fmt.Fprintf(&out, "%v %+v %#v %s\n", v, v, v, v)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		slog.New(handler).Info("x", "header", h, "pointer", &h)
	}
	if strings.Contains(out.String(), secret) {
		t.Errorf("shown in:\n%s", out.String())
	}
	if !strings.Contains(out.String(), "Authorization") {
		t.Error("the header's name is not shown")
	}
}
