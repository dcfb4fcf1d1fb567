package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"strings"
	"syscall"
	"text/tabwriter"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/mcpermit/mcpermit/pdp/inert"
)

type connection = grpc.ClientConn

// call runs a command against the admin service of the running PDP, and turns
// what it answers into a line that says what to do and an exit code.
func (g *Globals) call(run func(context.Context, *connection) error) error {
	conn, err := g.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	return explain(run(ctx, conn))
}

func explain(err error) error {
	s, ok := status.FromError(err)
	if err == nil || !ok {
		return err
	}
	switch s.Code() {
	case codes.Unavailable:
		return refused("no PDP answers: start one with `mcpermit up`, or name another with -c or --addr (%s)", s.Message())
	case codes.InvalidArgument:
		return misuse("%s", s.Message())
	case codes.Canceled:
		return nil
	default:
		return refused("%s", s.Message())
	}
}

// print writes one object: as JSON on one line, or as the text that show writes.
func (g *Globals) print(v any, show func()) error {
	if g.Output != "json" {
		show()
		return nil
	}
	enc := json.NewEncoder(g.Stdout)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

func (g *Globals) line(format string, args ...any) {
	fmt.Fprintln(g.Stdout, strings.TrimRight(inert.Text(fmt.Sprintf(format, args...)), " "))
}

// table writes rows of text under a head, or one JSON object for each row.
type table struct {
	g    *Globals
	w    *tabwriter.Writer
	errs []error
}

func (g *Globals) table(head ...string) *table {
	t := &table{g: g, w: tabwriter.NewWriter(g.Stdout, 0, 0, 2, ' ', 0)}
	if g.Output != "json" {
		fmt.Fprintln(t.w, strings.Join(head, "\t"))
	}
	return t
}

func (t *table) row(v any, cells ...string) {
	if t.g.Output == "json" {
		t.errs = append(t.errs, t.g.print(v, nil))
		return
	}
	for i, c := range cells {
		cells[i] = inert.Text(c)
	}
	_, err := io.WriteString(t.w, strings.Join(cells, "\t")+"\n")
	t.errs = append(t.errs, err)
}

func (t *table) flush() error {
	return errors.Join(append(t.errs, t.w.Flush())...)
}
