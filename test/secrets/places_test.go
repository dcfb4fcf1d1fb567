package secrets

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	metrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	traces "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// place is something that the programs have written or answered.
type place struct {
	kind, name string
	text       []byte
	// handed are the canaries that this is meant to hand out to who asked for them.
	handed []string
}

// Kinds of places. Each must be there.
const (
	inOutput    = "standard output and error of the programs"
	inCLI       = "what the command line prints"
	inAudit     = "audit directories"
	inQuery     = "audit query, tail and export, in every format"
	inTelemetry = "traces and metrics at the collector"
	inMetrics   = "/metrics, /healthz and /readyz"
	inPages     = "pages of the console"
	inState     = "state directories"
	inPostgres  = "dump of PostgreSQL"
	inRedis     = "keys and values of Redis"
	inAnswers   = "answers to clients"
)

var kinds = []string{inOutput, inCLI, inAudit, inQuery, inTelemetry, inMetrics, inPages, inState, inPostgres, inRedis, inAnswers}

// places are those seen so far. It is safe for concurrent use.
type places struct {
	mu  sync.Mutex
	all []place
}

func (p *places) add(kind, name string, text []byte, handed ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = append(p.all, place{kind, name, bytes.Clone(text), handed})
}

// hit is a canary where it must not be.
type hit struct{ canary, form, kind, name, around string }

func (h hit) String() string {
	return fmt.Sprintf("%s is in %s (%s), %s: ...%s...", h.canary, h.kind, h.name, h.form, h.around)
}

// search looks for the canaries everywhere.
func (p *places) search(l *ledger, all []canary) (hits []hit) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range all {
		forms := needles(l.of(c.name))
		for _, where := range p.all {
			if slices.Contains(where.handed, c.name) {
				continue
			}
			for _, n := range forms {
				if at := bytes.Index(where.text, n.text); at >= 0 {
					around := where.text[max(at-80, 0):min(at+len(n.text)+20, len(where.text))]
					hits = append(hits, hit{c.name, n.form, where.kind, where.name, string(bytes.ToValidUTF8(around, []byte("?")))})
					break
				}
			}
		}
	}
	return hits
}

// sum says how many places of each kind there are, and how many bytes. Each kind
// must have some.
func (p *places) sum(t *testing.T) string {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	var out strings.Builder
	number, size := map[string]int{}, map[string]int{}
	for _, where := range p.all {
		number[where.kind]++
		size[where.kind] += len(where.text)
	}
	total := 0
	for _, kind := range kinds {
		fmt.Fprintf(&out, "%9d bytes in %4d of %s\n", size[kind], number[kind], kind)
		if size[kind] == 0 {
			t.Errorf("nothing to search in %s", kind)
		}
		total += size[kind]
	}
	fmt.Fprintf(&out, "%9d bytes in %4d places", total, len(p.all))
	return out.String()
}

// directory adds every file below a directory but sockets, and but those that are
// secrets themselves.
func (p *places) directory(t *testing.T, kind, dir string, but ...string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() || slices.Contains(but, e.Name()) {
			return err
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		under, err := filepath.Rel(dir, name)
		if kind == inState && strings.HasPrefix(under, "audit"+string(filepath.Separator)) {
			kind := inAudit
			p.add(kind, under, text)
			return err
		}
		p.add(kind, under, append([]byte(under+"\n"), text...))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// collector is an OTLP collector that keeps what it is sent, as it is.
type collector struct {
	traces.UnimplementedTraceServiceServer
	places *places
}

type metricCollector struct {
	metrics.UnimplementedMetricsServiceServer
	places *places
}

// Export implements the service.
func (c collector) Export(_ context.Context, req *traces.ExportTraceServiceRequest) (*traces.ExportTraceServiceResponse, error) {
	b, err := proto.Marshal(req)
	c.places.add(inTelemetry, "traces", b)
	return &traces.ExportTraceServiceResponse{}, err
}

// Export implements the service.
func (c metricCollector) Export(_ context.Context, req *metrics.ExportMetricsServiceRequest) (*metrics.ExportMetricsServiceResponse, error) {
	b, err := proto.Marshal(req)
	c.places.add(inTelemetry, "metrics", b)
	return &metrics.ExportMetricsServiceResponse{}, err
}

// collect starts a collector and returns its address.
func (p *places) collect(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	traces.RegisterTraceServiceServer(server, collector{places: p})
	metrics.RegisterMetricsServiceServer(server, metricCollector{places: p})
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return "http://" + l.Addr().String()
}
