package policy

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/open-policy-agent/opa/v1/bundle"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// numbered is a policy whose reasons name its revision twice: once from its
// rules and once from its data.
func numbered(t testing.TB, revision int) []byte {
	t.Helper()
	return tarball(t,
		entry{"global.rego", fmt.Appendf(nil, `package policy.global.team

deny contains sprintf("rules %d, data %%v", [data.revision]) if input.method == "tools/call"
`, revision)},
		entry{"data.json", fmt.Appendf(nil, `{"revision": %d}`, revision)},
		manifest(fmt.Sprintf(`{"revision": "%d"}`, revision)))
}

func anyCall() *Input {
	return &Input{
		Subject: Subject{ID: "ada", Type: "agent"}, Server: Server{Name: "stripe"},
		Method: "tools/call", Tool: &Tool{Name: "create_refund", Class: "write", Pinned: "match"},
		Arguments: []byte(`{"amount": 1}`),
		Context:   Context{Time: time.Unix(1, 0), Transport: "http", Direction: "to_server"},
	}
}

// TestI11_ReloadUnderLoad replaces the policy a hundred times while others
// decide: no decision fails, and each is made by the rules and the data of one
// revision (SECURITY R14).
func TestI11_ReloadUnderLoad(t *testing.T) {
	const reloads = 100
	l, put := fileLoader(t, SourceOptions{})
	l.options.Snapshot.Deadline = time.Minute // not what is tested, on a busy machine
	put(numbered(t, 0))
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	var decided [reloads + 1]atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			// Paced, so that the machine has time for the reloads.
			for in := anyCall(); !stop.Load(); time.Sleep(10 * time.Millisecond) {
				s := l.Current()
				r := s.Decide(t.Context(), in)
				revision := s.Revision().Revision
				want := fmt.Sprintf("rules %s, data %s", revision, revision)
				if r.Err != nil || r.Effect != Deny || r.Reason != want {
					t.Errorf("revision %s decided %+v, want %q", revision, r, want)
					return
				}
				var n int
				if _, err := fmt.Sscan(revision, &n); err != nil {
					t.Error(err)
				}
				decided[n].Add(1)
			}
		})
	}
	for n := 1; n <= reloads; n++ {
		put(numbered(t, n))
		if err := l.Reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	for decided[reloads].Load() == 0 && !t.Failed() {
		time.Sleep(time.Millisecond)
	}
	stop.Store(true)
	wg.Wait()
	used := 0
	for n := range decided {
		if decided[n].Load() > 0 {
			used++
		}
	}
	t.Logf("%d of %d revisions decided something", used, reloads+1)
	if used < 2 {
		t.Error("nothing was decided while the policy changed")
	}
}

func TestStatusAndWhatIsTold(t *testing.T) {
	var log bytes.Buffer
	var told []Status
	metrics := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(metrics))
	l, put := fileLoader(t, SourceOptions{})
	l = NewLoader(l.source, LoaderOptions{
		Log:      slog.New(slog.NewTextHandler(&log, nil)),
		OnChange: func(s Status) { told = append(told, s) },
		Meter:    provider.Meter("test"),
	})
	if s := l.Status(); s.Ready || s.Source != l.source.String() {
		t.Errorf("before anything: %+v", s)
	}
	put([]byte("bad"))
	for range 3 {
		if l.Reload(t.Context()) == nil {
			t.Fatal("a bad bundle loads")
		}
	}
	put(tarball(t, good("1")...))
	before := time.Now()
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := l.Status()
	if s.Revision != l.Current().Revision() || s.Revision.Revision != "1" || !strings.HasPrefix(s.Revision.Digest, "sha256:") {
		t.Errorf("status says %+v, decisions say %+v", s.Revision, l.Current().Revision())
	}
	if !s.Ready || s.LastError != "" || s.ActivatedAt.Before(before) {
		t.Errorf("status: %+v", s)
	}
	want := map[string]int{"policy.servers.stripe.allow": 1, "policy.servers.stripe.deny": 1}
	if diff := cmp.Diff(want, s.Rules); diff != "" {
		t.Errorf("rules (-want +got):\n%s", diff)
	}
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	if len(told) != 4 || told[0].LastError == "" || !told[3].Ready {
		t.Errorf("told %d times: %+v", len(told), told)
	}
	if n := strings.Count(log.String(), "not activated"); n != 1 {
		t.Errorf("the same failure is in the log %d times:\n%s", n, log.String())
	}
	if !strings.Contains(log.String(), "policy activated") {
		t.Errorf("no activation in the log:\n%s", log.String())
	}
	got := loads(t, metrics)
	if diff := cmp.Diff(map[string]int64{"failed": 3, "activated": 1, "unchanged": 1}, got); diff != "" {
		t.Errorf("mcpermit.policy.loads (-want +got):\n%s", diff)
	}
}

func loads(t *testing.T, reader *sdkmetric.ManualReader) map[string]int64 {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	got := map[string]int64{}
	for _, m := range rm.ScopeMetrics[0].Metrics {
		sum, ok := m.Data.(metricdata.Sum[int64])
		if m.Name != "mcpermit.policy.loads" || !ok {
			continue
		}
		for _, p := range sum.DataPoints {
			v, _ := p.Attributes.Value("outcome")
			got[v.AsString()] = p.Value
		}
	}
	return got
}

// TestI11_BuildFaultChangesNothing: neither an error nor a panic of Build, nor
// a shutdown in the middle, touches what is in force.
func TestI11_BuildFaultChangesNothing(t *testing.T) {
	l, put := fileLoader(t, SourceOptions{})
	put(tarball(t, good("1")...))
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	in := l.Current()
	put(tarball(t, good("2")...))
	faults := map[string]func(context.Context, *bundle.Bundle, Options) (*Snapshot, error){
		"error":   func(context.Context, *bundle.Bundle, Options) (*Snapshot, error) { return nil, errors.New("no") },
		"nothing": func(context.Context, *bundle.Bundle, Options) (*Snapshot, error) { return nil, nil },
		"panic":   func(context.Context, *bundle.Bundle, Options) (*Snapshot, error) { panic("a bug") },
	}
	for name, fault := range faults {
		l.build = fault
		if err := l.Reload(t.Context()); err == nil || l.Current() != in || l.Status().LastError != err.Error() {
			t.Errorf("%s: %v, in force changed: %v", name, err, l.Current() != in)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	l.build = func(ctx context.Context, _ *bundle.Bundle, _ Options) (*Snapshot, error) {
		cancel()
		return nil, ctx.Err()
	}
	last := l.Status()
	if err := l.Reload(ctx); !errors.Is(err, context.Canceled) || l.Current() != in {
		t.Errorf("shutdown: %v", err)
	}
	if diff := cmp.Diff(last, l.Status()); diff != "" {
		t.Errorf("a shutdown is in the status:\n%s", diff)
	}
	l.build = Build
	if err := l.Reload(t.Context()); err != nil || l.Current() == in || l.Status().Revision.Revision != "2" {
		t.Errorf("afterwards: %v", err)
	}
}

// TestConcurrentReloads: the last content wins whoever reads it.
func TestConcurrentReloads(t *testing.T) {
	l, put := fileLoader(t, SourceOptions{})
	put(numbered(t, 1))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := l.Reload(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if l.activation != 1 || l.Current().Revision().Revision != "1" {
		t.Errorf("activated %d times, in force %+v", l.activation, l.Current().Revision())
	}
}

func TestStatusIsACopy(t *testing.T) {
	l, put := fileLoader(t, SourceOptions{})
	put(tarball(t, append(good("1"), entry{"more.rego", []byte("package policy.global.more\n\nallow contains \"x\" if input.method == \"x\"")})...))
	if err := l.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	s := l.Status()
	if len(s.Findings) == 0 {
		t.Fatal("the linter has found no missing id")
	}
	want, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	clear(s.Rules)
	clear(s.Findings)
	got, err := json.Marshal(l.Status())
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v: status changed to %s", err, got)
	}
}
