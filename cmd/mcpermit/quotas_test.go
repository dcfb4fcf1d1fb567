package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/mcpermit/mcpermit/pdp/quota"
	"github.com/mcpermit/mcpermit/pdp/store"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// quotaPDP serves the quotas of a store in which ada has used 30.5 of 100 refunds
// and bob 7. It returns what was recorded.
func quotaPDP(t *testing.T) (addr string, recorded *[]string) {
	t.Helper()
	dir := t.TempDir()
	s, err := store.Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	l := quota.NewLedger(quota.Options{Amounts: s})
	limit, _ := quota.ParseAmount("100")
	window, _ := quota.ParseWindow("24h", "", "")
	for who, spent := range map[string]string{"ada": "30.5", "bob\x1b[31m": "7"} {
		cost, _ := quota.ParseAmount(spent)
		_, err := l.Reserve(t.Context(), "decision of "+who, time.Now(), []quota.Limit{{
			Name: "refunds", Per: []quota.Part{{Name: "subject", Value: who}}, Limit: limit, Cost: cost, Window: window,
		}})
		if err != nil {
			t.Fatal(err)
		}
	}
	recorded = new([]string)
	listener, err := net.Listen("unix", filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	v1.RegisterQuotaServiceServer(server, quota.NewService(l, quota.ServiceOptions{Record: func(_ context.Context, target string) error {
		*recorded = append(*recorded, target)
		return nil
	}}))
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		_ = s.Close()
	})
	return "unix://" + listener.Addr().String(), recorded
}

func TestQuotas(t *testing.T) {
	addr, recorded := quotaPDP(t)
	quotas := func(args ...string) (int, string, string) {
		return command(t, append([]string{"quotas", "--addr", addr}, args...)...)
	}
	code, out, errs := quotas("list")
	for _, want := range []string{"ID ", "subject=ada ", " 30.5 ", " 24h sliding ", `subject=bob\u001b[31m `} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("list: %d, no %q in\n%s%s", code, want, out, errs)
		}
	}
	code, out, errs = quotas("list", "--quota", "refunds", "--of", "ada", "-o", "json")
	var v counterView
	if err := json.Unmarshal([]byte(out), &v); code != 0 || err != nil || v.Used != "30.5" || v.Limit != "100" || v.Remaining != "69.5" ||
		v.Per["subject"] != "ada" || v.ResetAt == nil || strings.Count(out, "\n") != 1 {
		t.Errorf("list as JSON: %d, %s%s", code, out, errs)
	}
	if code, out, _ = quotas("show", v.ID); code != 0 || !strings.Contains(out, "Used       30.5 of 100, 69.5 left (24h sliding)\n") {
		t.Errorf("show: %d\n%s", code, out)
	}
	if code, _, errs = quotas("show", "nobody"); code != 1 || !strings.Contains(errs, `no counter of the id "nobody"`) {
		t.Errorf("show what is not there: %d, %s", code, errs)
	}

	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, 2, "say which"},
		{[]string{v.ID, "--quota", "refunds"}, 2, "say which"},
		{[]string{v.ID, "--all"}, 2, "--all go with --quota"},
		{[]string{"--quota", "refunds"}, 1, "more than one counter matches"},
		{[]string{"--quota", "calls"}, 1, "no counter matches"},
		{[]string{"--quota", "calls", "--all"}, 1, "no counter matches"},
		{[]string{"nobody"}, 1, "no counter matches"},
	} {
		if code, _, errs := quotas(append([]string{"reset"}, c.args...)...); code != c.code || !strings.Contains(errs, c.says) {
			t.Errorf("reset %q: %d, %s", c.args, code, errs)
		}
	}
	if *recorded != nil {
		t.Errorf("recorded what was not done: %q", *recorded)
	}
	if code, out, errs = quotas("reset", "--quota", "refunds", "--of", "ada"); code != 0 || out != "1 reset\n" {
		t.Errorf("reset: %d, %s%s", code, out, errs)
	}
	if _, out, _ = quotas("show", v.ID); !strings.Contains(out, "Used       0 of 100, 100 left") {
		t.Errorf("after the reset:\n%s", out)
	}
	if code, out, errs = quotas("reset", "--quota", "refunds", "--all", "-o", "json"); code != 0 || out != "{\"reset\":2}\n" {
		t.Errorf("reset all: %d, %s%s", code, out, errs)
	}
	if want := fmt.Sprintf("[quota counter %s quota refunds]", v.ID); fmt.Sprint(*recorded) != want {
		t.Errorf("recorded %q, want %s", *recorded, want)
	}
}
