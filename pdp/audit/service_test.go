package audit

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/types/known/timestamppb"

	mcpermitv1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// testService serves log and returns a client.
func testService(t *testing.T, log *Log) mcpermitv1.AuditServiceClient {
	t.Helper()
	lis := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	mcpermitv1.RegisterAuditServiceServer(s, NewService(log))
	served := make(chan error, 1)
	go func() { served <- s.Serve(lis) }()
	conn, err := grpc.NewClient("passthrough:///", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return lis.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		conn.Close()
		s.Stop()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return mcpermitv1.NewAuditServiceClient(conn)
}

func TestServiceQuery(t *testing.T) {
	l := testLog(t, Options{Dir: t.TempDir()})
	for i := range 10 {
		r := testRecord(i)
		if i%2 == 0 {
			r.Effect = "allow"
			r.Rules = nil
		}
		mustRecord(t, l, r)
	}
	l.Outcome(testRecord(8).DecisionID, Outcome{Forwarded: true, Status: 200})
	mustRecord(t, l, testRecord(10))
	client := testService(t, l)
	ask := func(in *mcpermitv1.QueryAuditRequest) (out []*Record, err error) {
		res, err := client.QueryAudit(t.Context(), in)
		for err == nil {
			var next *mcpermitv1.QueryAuditResponse
			if next, err = res.Recv(); err == nil {
				r, parseErr := ParseRecord(next.GetRecord())
				if parseErr != nil {
					t.Fatal(parseErr)
				}
				out = append(out, r)
			}
		}
		if errors.Is(err, io.EOF) {
			err = nil
		}
		return out, err
	}
	got, err := ask(&mcpermitv1.QueryAuditRequest{Limit: 2, Filter: &mcpermitv1.AuditFilter{
		Effect: mcpermitv1.Effect_EFFECT_ALLOW, Server: "stripe", Since: timestamppb.New(testRecord(2).Time),
	}})
	if err != nil || len(got) != 2 || got[0].DecisionID != "d-000006" || got[1].Outcome == nil || got[1].Outcome.Status != 200 {
		t.Errorf("%v, %v", ids(got), err)
	}
	if got, err := ask(&mcpermitv1.QueryAuditRequest{}); err != nil || len(got) != 11 {
		t.Errorf("%v, %v", ids(got), err)
	}
	for _, in := range []*mcpermitv1.QueryAuditRequest{
		{Limit: -1},
		{Filter: &mcpermitv1.AuditFilter{Effect: 99}},
		{Filter: &mcpermitv1.AuditFilter{Since: &timestamppb.Timestamp{Nanos: -1}}},
	} {
		if _, err := ask(in); status.Code(err) != codes.InvalidArgument {
			t.Errorf("%v: %v", in, err)
		}
	}
}

func TestServiceTailAndVerify(t *testing.T) {
	l := openLog(t, Options{Dir: t.TempDir()}, nil)
	mustRecord(t, l, testRecord(0))
	client := testService(t, l)
	tail, err := client.TailAudit(t.Context(), &mcpermitv1.TailAuditRequest{Filter: &mcpermitv1.AuditFilter{Subject: "alice"}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tail.Header(); err != nil { // from here on nothing is missed
		t.Fatal(err)
	}
	mustRecord(t, l, testRecord(1))
	res, err := tail.Recv()
	if err != nil {
		t.Fatal(err)
	}
	if r, err := ParseRecord(res.GetRecord()); err != nil || r.DecisionID != "d-000001" {
		t.Errorf("%+v, %v", r, err)
	}
	report, err := client.VerifyAudit(t.Context(), &mcpermitv1.VerifyAuditRequest{})
	if err != nil || report.GetEntries() != 2 || len(report.GetHead()) != hashHex || report.GetProblem() != "" {
		t.Errorf("%v, %v", report, err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := tail.Recv(); status.Code(err) != codes.Unavailable {
		t.Errorf("tail of a closed log: %v", err)
	}
}
