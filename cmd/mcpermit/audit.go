package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/mcpermit/mcpermit/pdp/audit"
	v1 "github.com/mcpermit/mcpermit/proto/mcpermit/v1"
)

// AuditCmd reads the audit trail: one record for every frame, whatever became
// of it, in a chain of hashes.
type AuditCmd struct {
	Tail   AuditTailCmd   `cmd:"" help:"Show records as they are written, until interrupted."`
	Query  AuditQueryCmd  `cmd:"" help:"Show the last matching records, oldest first."`
	Verify AuditVerifyCmd `cmd:"" help:"Check that no record was altered, removed, added or moved."`
	Export AuditExportCmd `cmd:"" help:"Write matching records as CSV or JSON lines."`
}

// auditFilter is the flags that select records.
type auditFilter struct {
	Since    string `help:"Not older than this: a duration (90m, 7d) or a time (2026-11-22T17:00:00Z, 2026-11-22)." placeholder:"WHEN"`
	Until    string `help:"Older than this." placeholder:"WHEN"`
	Subject  string `help:"Id of the subject." placeholder:"ID"`
	Grant    string `help:"Id of the grant." placeholder:"ID"`
	Server   string `help:"Name of the server." placeholder:"NAME"`
	Method   string `help:"MCP method, such as tools/call." placeholder:"METHOD"`
	Name     string `help:"Tool, prompt or resource." placeholder:"NAME"`
	Effect   string `enum:"allow,deny,hide,approve," default:"" help:"allow, deny, hide or approve." placeholder:"EFFECT"`
	Code     string `help:"Reason code, such as quota_exceeded or approval_refused." placeholder:"CODE"`
	Decision string `help:"Id of the decision, as refused clients are told it." placeholder:"ID"`
}

var auditEffects = map[string]v1.Effect{
	"allow": v1.Effect_EFFECT_ALLOW, "deny": v1.Effect_EFFECT_DENY,
	"hide": v1.Effect_EFFECT_HIDE, "approve": v1.Effect_EFFECT_APPROVE,
}

func (f *auditFilter) parse(now time.Time) (audit.Filter, error) {
	out := audit.Filter{
		DecisionID: f.Decision, Subject: f.Subject, Grant: f.Grant, Server: f.Server,
		Method: f.Method, Name: f.Name, Effect: f.Effect, ReasonCode: f.Code,
	}
	var err error
	if out.Since, err = parseWhen(f.Since, now); err != nil {
		return out, misuse("--since: %w", err)
	}
	if out.Until, err = parseWhen(f.Until, now); err != nil {
		return out, misuse("--until: %w", err)
	}
	return out, nil
}

// parseWhen reads a time, or a duration before now.
func parseWhen(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if d, ok := parseDuration(s); ok {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, s, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is neither a duration such as 90m or 7d nor a time such as 2026-11-22T17:00:00Z", s)
}

// parseDuration reads a duration such as 90m, or 7d: seven times 24 hours.
func parseDuration(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseUint(days, 10, 16); err == nil {
			return time.Duration(n) * 24 * time.Hour, true
		}
	}
	d, err := time.ParseDuration(s)
	return d, err == nil && d >= 0
}

func auditFilterMessage(f audit.Filter) *v1.AuditFilter {
	out := &v1.AuditFilter{
		DecisionId: f.DecisionID, Subject: f.Subject, Grant: f.Grant, Server: f.Server,
		Method: f.Method, Name: f.Name, Effect: auditEffects[f.Effect], ReasonCode: f.ReasonCode,
	}
	if !f.Since.IsZero() {
		out.Since = timestamppb.New(f.Since)
	}
	if !f.Until.IsZero() {
		out.Until = timestamppb.New(f.Until)
	}
	return out
}

// AuditTailCmd is `mcpermit audit tail`.
type AuditTailCmd struct {
	auditFilter
	Limit int32 `short:"n" default:"10" help:"First show this many of the last records; 0 for none." placeholder:"N"`
}

// Run shows records until it is interrupted.
func (c *AuditTailCmd) Run(g *Globals) error {
	f, err := c.parse(time.Now())
	if err != nil {
		return err
	}
	if c.Limit < 0 {
		return misuse("--limit must not be negative")
	}
	show := g.auditPrinter()
	return g.call(func(ctx context.Context, conn *connection) error {
		tail, err := v1.NewAuditServiceClient(conn).TailAudit(ctx, &v1.TailAuditRequest{Filter: auditFilterMessage(f)})
		if err != nil {
			return err
		}
		// Once the header is here nothing written later is missed; what the query
		// shows too is left out by its number.
		if _, err := tail.Header(); err != nil {
			return err
		}
		last := uint64(0)
		once := func(b []byte) error {
			r, err := audit.ParseRecord(b)
			if err != nil || r.Seq <= last {
				return err
			}
			last = r.Seq
			return show(b)
		}
		if c.Limit > 0 {
			if err := queryPDP(ctx, conn, f, int(c.Limit), once); err != nil {
				return err
			}
		}
		return followPDP(tail, once)
	})
}

func followPDP(tail grpc.ServerStreamingClient[v1.TailAuditResponse], fn func([]byte) error) error {
	for {
		next, err := tail.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := fn(next.GetRecord()); err != nil {
			return err
		}
	}
}

// AuditQueryCmd is `mcpermit audit query`.
type AuditQueryCmd struct {
	auditFilter
	Acts  bool   `help:"Acts of people in place of records: --subject is the person then, --name what it was done to."`
	Limit int32  `default:"100" help:"The last so many; 0 for all." placeholder:"N"`
	Dir   string `type:"path" help:"Read the trail in this directory instead of asking a PDP." placeholder:"DIR"`
}

// Run shows the matching records.
func (c *AuditQueryCmd) Run(g *Globals) error {
	f, err := c.parse(time.Now())
	if err != nil {
		return err
	}
	if c.Limit < 0 {
		return misuse("--limit must not be negative")
	}
	if c.Acts {
		return c.acts(g, f)
	}
	found := false
	show := g.auditPrinter()
	err = g.auditRecords(c.Dir, f, int(c.Limit), func(b []byte) error {
		found = true
		return show(b)
	})
	if err == nil && !found && c.Decision != "" {
		return refused("there is no record of decision %s", c.Decision)
	}
	return err
}

// AuditVerifyCmd is `mcpermit audit verify`.
type AuditVerifyCmd struct {
	Dir string `type:"path" help:"Verify the trail in this directory instead of asking a PDP." placeholder:"DIR"`
}

// Run verifies the chain.
func (c *AuditVerifyCmd) Run(g *Globals) error {
	var report audit.Report
	err := g.audited(c.Dir, func(ctx context.Context, conn *connection) error {
		res, err := v1.NewAuditServiceClient(conn).VerifyAudit(ctx, &v1.VerifyAuditRequest{})
		report = audit.Report{Entries: res.GetEntries(), Head: res.GetHead(), Problem: res.GetProblem()}
		return err
	}, func(ctx context.Context, t *audit.Trail) (err error) {
		report, err = t.Verify(ctx)
		return err
	})
	if err != nil {
		return err
	}
	view := struct {
		Entries int64  `json:"entries"`
		Head    string `json:"head"`
		Problem string `json:"problem,omitempty"`
	}{report.Entries, report.Head, report.Problem}
	err = g.print(view, func() {
		if report.Problem != "" {
			return
		}
		g.line("The chain is whole: %d entries. Keep its head in another place:\n%s", report.Entries, report.Head)
		for _, r := range report.Repairs {
			g.line("Entry %d, %s: %s", r.Seq, r.Time.Local().Format(time.DateTime), r.Reason)
		}
	})
	if report.Problem != "" {
		return refused("the audit trail is broken: %s", report.Problem)
	}
	return err
}

// AuditExportCmd is `mcpermit audit export`.
type AuditExportCmd struct {
	auditFilter
	Format string `default:"csv" enum:"csv,jsonl" help:"csv, safe to open in a spreadsheet, or jsonl, the records as they are."`
	To     string `type:"path" help:"File to write, which must not exist yet, instead of standard output." placeholder:"FILE"`
	Dir    string `type:"path" help:"Read the trail in this directory instead of asking a PDP." placeholder:"DIR"`
}

// Run writes the matching records.
func (c *AuditExportCmd) Run(g *Globals) (err error) {
	f, err := c.parse(time.Now())
	if err != nil {
		return err
	}
	w := g.Stdout
	if c.To != "" {
		file, err := os.OpenFile(c.To, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return misuse("--to: %w", err)
		}
		defer func() { err = errors.Join(err, file.Close()) }()
		w = file
	}
	if c.Format == "jsonl" || g.Output == "json" {
		return g.auditRecords(c.Dir, f, 0, func(b []byte) error {
			_, err := w.Write(append(b, '\n'))
			return err
		})
	}
	sheet := newAuditSheet(w)
	return errors.Join(g.auditRecords(c.Dir, f, 0, sheet.add), sheet.flush())
}

// auditRecords gives the matching records, as JSON.
func (g *Globals) auditRecords(dir string, f audit.Filter, limit int, fn func([]byte) error) error {
	return g.audited(dir, func(ctx context.Context, conn *connection) error {
		return queryPDP(ctx, conn, f, limit, fn)
	}, func(ctx context.Context, t *audit.Trail) error {
		return t.Query(ctx, f, limit, func(r *audit.Record) error {
			b, err := r.JSON()
			if err != nil {
				return err
			}
			return fn(b)
		})
	})
}

func queryPDP(ctx context.Context, conn *connection, f audit.Filter, limit int, fn func([]byte) error) error {
	res, err := v1.NewAuditServiceClient(conn).QueryAudit(ctx, &v1.QueryAuditRequest{Filter: auditFilterMessage(f), Limit: int32(limit)})
	if err != nil {
		return err
	}
	for n := 0; ; n++ {
		next, err := res.Recv()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && n > 0 && status.Code(err) == codes.Unavailable:
			return fmt.Errorf("the PDP went away after %d records; ask again", n)
		case err != nil:
			return err
		}
		if err := fn(next.GetRecord()); err != nil {
			return err
		}
	}
}

// audited asks the running PDP, or reads the trail in dir. Without a PDP and
// without either --dir or --addr it reads the trail in the state directory.
func (g *Globals) audited(dir string, ask func(context.Context, *connection) error, read func(context.Context, *audit.Trail) error) error {
	if dir == "" {
		unanswered := false
		err := g.call(func(ctx context.Context, conn *connection) error {
			err := ask(ctx, conn)
			unanswered = status.Code(err) == codes.Unavailable
			return err
		})
		if !unanswered || g.Addr != "" {
			return err
		}
		state, stateErr := g.StateDir()
		if stateErr != nil {
			return stateErr
		}
		dir = filepath.Join(state, "audit")
		if _, statErr := os.Stat(dir); statErr != nil {
			return err // that no PDP answers says more
		}
		fmt.Fprintf(g.Stderr, "mcpermit: no PDP answers; reading %s\n", dir)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return read(ctx, audit.NewTrail(dir))
}
