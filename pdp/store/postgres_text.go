package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// session runs statements on a connection or in a transaction, and keeps any Go
// string in a column of type text, which holds no zero bytes and only UTF-8.
// Names come from upstream servers and clients: one with a zero byte in it must
// not make a whole listing impossible to store. What text can't hold is escaped
// with backslashes, and so no two strings become the same text.
type session struct {
	on interface {
		Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
		Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
		QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
		SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	}
}

// exec runs a statement and returns how many rows it changed.
func (s session) exec(ctx context.Context, sql string, args ...any) (int64, error) {
	tag, err := s.on.Exec(ctx, sql, textArgs(args)...)
	return tag.RowsAffected(), err
}

// row runs a query for one row.
func (s session) row(ctx context.Context, sql string, args ...any) row {
	return textRow{s.on.QueryRow(ctx, sql, textArgs(args)...)}
}

// each runs a query and scans every row.
func (s session) each(ctx context.Context, scan func(from row) error, sql string, args ...any) error {
	rows, err := s.on.Query(ctx, sql, textArgs(args)...)
	if err != nil {
		return err
	}
	return eachRow(rows, scan)
}

func eachRow(rows pgx.Rows, scan func(from row) error) error {
	defer rows.Close()
	for rows.Next() {
		if err := scan(textRow{rows}); err != nil {
			return err
		}
	}
	return rows.Err()
}

// batch is statements that are sent together.
type batch struct{ pgx.Batch }

func (b *batch) add(sql string, args ...any) { b.Queue(sql, textArgs(args)...) }

// addCounted also tells how many rows the statement has changed.
func (b *batch) addCounted(changed func(rows int64), sql string, args ...any) {
	b.Queue(sql, textArgs(args)...).Exec(func(tag pgconn.CommandTag) error {
		changed(tag.RowsAffected())
		return nil
	})
}

// send runs the statements in order, up to the first that fails.
func (s session) send(ctx context.Context, b *batch) error {
	return s.on.SendBatch(ctx, &b.Batch).Close()
}

// textArgs escapes the strings among the arguments. JSON is no string but
// jsonText.
func textArgs(args []any) []any {
	out := make([]any, len(args))
	for i, a := range args {
		switch v := a.(type) {
		case string:
			a = escaped(v)
		case []string:
			texts := make([]string, len(v))
			for i := range v {
				texts[i] = escaped(v[i])
			}
			a = texts
		}
		out[i] = a
	}
	return out
}

type textRow struct{ row }

// Scan undoes what textArgs did.
func (r textRow) Scan(dest ...any) error {
	out := make([]any, len(dest))
	for i, d := range dest {
		if s, ok := d.(*string); ok {
			d = textColumn{s}
		}
		out[i] = d
	}
	return r.row.Scan(out...)
}

type textColumn struct{ value *string }

// Scan implements sql.Scanner.
func (c textColumn) Scan(src any) (err error) {
	text, ok := src.(string)
	if !ok {
		return fmt.Errorf("a column of text holds %T", src)
	}
	*c.value, err = unescaped(text)
	return err
}

func escaped(s string) string {
	if !strings.ContainsAny(s, "\\\x00") && utf8.ValidString(s) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == '\\':
			b.WriteString(`\\`)
		case r == 0:
			b.WriteString(`\0`)
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\%02x`, s[i])
		default:
			b.WriteString(s[i : i+size])
		}
		i += size
	}
	return b.String()
}

func unescaped(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\`)
		b.WriteString(before)
		switch {
		case !found:
			return b.String(), nil
		case strings.HasPrefix(after, `\`):
			b.WriteByte('\\')
			s = after[1:]
		case strings.HasPrefix(after, "0"):
			b.WriteByte(0)
			s = after[1:]
		default:
			digits := after[:min(2, len(after))]
			value, err := strconv.ParseUint(digits, 16, 8)
			if err != nil || len(digits) < 2 {
				return "", fmt.Errorf("a column of text holds %q, which nothing is written as", s)
			}
			b.WriteByte(byte(value))
			s = after[2:]
		}
	}
}
