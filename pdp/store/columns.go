package store

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// Times are kept as microseconds since 1970; NULL is the zero time.

func toMicros(t time.Time) int64 { return t.UnixMicro() }

func toNullMicros(t time.Time) sql.NullInt64 {
	return sql.NullInt64{Int64: t.UnixMicro(), Valid: !t.IsZero()}
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

func fromNullMicros(us sql.NullInt64) time.Time {
	if !us.Valid {
		return time.Time{}
	}
	return fromMicros(us.Int64)
}

// jsonColumn reads and writes a list or a map as JSON text. What is empty is
// nil when it comes back.
type jsonColumn[T any] struct{ value *T }

func asJSON[T any](v *T) jsonColumn[T] { return jsonColumn[T]{v} }

// jsonText is a list or a map as it is stored.
type jsonText string

// encoded returns the text to store.
func encoded(v any) (jsonText, error) {
	b, err := json.Marshal(v)
	return jsonText(b), err
}

// encodedAll returns the texts of several columns.
func encodedAll(values ...any) ([]jsonText, error) {
	texts := make([]jsonText, len(values))
	for i, v := range values {
		var err error
		if texts[i], err = encoded(v); err != nil {
			return nil, err
		}
	}
	return texts, nil
}

// Scan implements sql.Scanner.
func (c jsonColumn[T]) Scan(src any) error {
	var text string
	switch src := src.(type) {
	case string: // of SQLite
		text = src
	case []byte: // of PostgreSQL
		text = string(src)
	default:
		return fmt.Errorf("a column of JSON holds %T", src)
	}
	if text == "null" || text == "[]" || text == "{}" {
		var zero T
		*c.value = zero
		return nil
	}
	return json.Unmarshal([]byte(text), c.value)
}

// digestColumn reads a SHA-256.
type digestColumn struct{ value *[32]byte }

// Scan implements sql.Scanner.
func (c digestColumn) Scan(src any) error {
	b, ok := src.([]byte)
	if !ok || len(b) != len(c.value) {
		return fmt.Errorf("a column of a digest holds %T of another length", src)
	}
	copy(c.value[:], b)
	return nil
}

// nullDigestColumn reads a SHA-256; NULL is zero.
type nullDigestColumn struct{ value *[32]byte }

// Scan implements sql.Scanner.
func (c nullDigestColumn) Scan(src any) error {
	if src == nil {
		*c.value = [32]byte{}
		return nil
	}
	return digestColumn(c).Scan(src)
}
