package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

// InsertSignInLink implements signin.Store.
func (s *SQLite) InsertSignInLink(ctx context.Context, l signin.Link) error {
	person, err := encoded(l.Person)
	if err != nil {
		return err
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `INSERT INTO sign_in_links (digest, person, expires_at) VALUES (?, ?, ?)`,
			l.Digest[:], person, toMicros(l.ExpiresAt))
		return err
	})
}

// TakeSignInLink implements signin.Store.
func (s *SQLite) TakeSignInLink(ctx context.Context, d signin.Digest, at time.Time) (signin.Link, error) {
	l := signin.Link{Digest: d}
	err := s.write(ctx, func(tx *sql.Tx) error {
		var expires int64
		err := tx.QueryRowContext(ctx, `DELETE FROM sign_in_links WHERE digest = ? AND expires_at > ? RETURNING person, expires_at`, d[:], toMicros(at)).
			Scan(asJSON(&l.Person), &expires)
		l.ExpiresAt = fromMicros(expires)
		return found(err, "take a sign-in link")
	})
	if err != nil {
		return signin.Link{}, err
	}
	return l, nil
}

// InsertSession implements signin.Store.
func (s *SQLite) InsertSession(ctx context.Context, n signin.Session) error {
	person, err := encoded(n.Person)
	if err != nil {
		return err
	}
	return s.write(ctx, func(tx *sql.Tx) error {
		for _, old := range []string{`DELETE FROM sign_in_links WHERE expires_at <= ?`, `DELETE FROM sessions WHERE expires_at <= ?`} {
			if _, err := tx.ExecContext(ctx, old, toMicros(n.CreatedAt)); err != nil {
				return err
			}
		}
		_, err := tx.ExecContext(ctx, `INSERT INTO sessions (digest, person, created_at, expires_at) VALUES (?, ?, ?, ?)`,
			n.Digest[:], person, toMicros(n.CreatedAt), toMicros(n.ExpiresAt))
		return err
	})
}

// Session implements signin.Store.
func (s *SQLite) Session(ctx context.Context, d signin.Digest, at time.Time) (signin.Session, error) {
	n := signin.Session{Digest: d}
	var created, expires int64
	err := s.reader.QueryRowContext(ctx, `SELECT person, created_at, expires_at FROM sessions WHERE digest = ? AND expires_at > ?`, d[:], toMicros(at)).
		Scan(asJSON(&n.Person), &created, &expires)
	if err := found(err, "read a session"); err != nil {
		return signin.Session{}, err
	}
	n.CreatedAt, n.ExpiresAt = fromMicros(created), fromMicros(expires)
	return n, nil
}

// DeleteSession implements signin.Store.
func (s *SQLite) DeleteSession(ctx context.Context, d signin.Digest) error {
	return s.write(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, `DELETE FROM sessions WHERE digest = ?`, d[:])
		return err
	})
}

// found turns no row into the console's own error.
func found(err error, act string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return signin.ErrNotFound
	}
	if err != nil {
		return fmt.Errorf("%s: %w", act, err)
	}
	return nil
}
