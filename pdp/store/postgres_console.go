package store

import (
	"context"
	"time"

	"github.com/mcpermit/mcpermit/pdp/signin"
)

// InsertSignInLink implements signin.Store.
func (s *Postgres) InsertSignInLink(ctx context.Context, l signin.Link) error {
	person, err := encoded(l.Person)
	if err != nil {
		return err
	}
	return s.write(ctx, func(ctx context.Context, tx session) error {
		_, err := tx.exec(ctx, `INSERT INTO sign_in_links (digest, person, expires_at) VALUES ($1, $2, $3)`,
			l.Digest[:], person, toMicros(l.ExpiresAt))
		return err
	})
}

// TakeSignInLink implements signin.Store.
func (s *Postgres) TakeSignInLink(ctx context.Context, d signin.Digest, at time.Time) (signin.Link, error) {
	l := signin.Link{Digest: d}
	err := s.write(ctx, func(ctx context.Context, tx session) error {
		var expires int64
		err := tx.row(ctx, `DELETE FROM sign_in_links WHERE digest = $1 AND expires_at > $2 RETURNING person, expires_at`, d[:], toMicros(at)).
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
func (s *Postgres) InsertSession(ctx context.Context, n signin.Session) error {
	person, err := encoded(n.Person)
	if err != nil {
		return err
	}
	return s.write(ctx, func(ctx context.Context, tx session) error {
		for _, old := range []string{`DELETE FROM sign_in_links WHERE expires_at <= $1`, `DELETE FROM sessions WHERE expires_at <= $1`} {
			if _, err := tx.exec(ctx, old, toMicros(n.CreatedAt)); err != nil {
				return err
			}
		}
		_, err := tx.exec(ctx, `INSERT INTO sessions (digest, person, created_at, expires_at) VALUES ($1, $2, $3, $4)`,
			n.Digest[:], person, toMicros(n.CreatedAt), toMicros(n.ExpiresAt))
		return err
	})
}

// Session implements signin.Store.
func (s *Postgres) Session(ctx context.Context, d signin.Digest, at time.Time) (signin.Session, error) {
	return one(ctx, s, func(from row) (signin.Session, error) {
		n := signin.Session{Digest: d}
		var created, expires int64
		if err := found(from.Scan(asJSON(&n.Person), &created, &expires), "read a session"); err != nil {
			return signin.Session{}, err
		}
		n.CreatedAt, n.ExpiresAt = fromMicros(created), fromMicros(expires)
		return n, nil
	}, `SELECT person, created_at, expires_at FROM sessions WHERE digest = $1 AND expires_at > $2`, d[:], toMicros(at))
}

// DeleteSession implements signin.Store.
func (s *Postgres) DeleteSession(ctx context.Context, d signin.Digest) error {
	return s.write(ctx, func(ctx context.Context, tx session) error {
		_, err := tx.exec(ctx, `DELETE FROM sessions WHERE digest = $1`, d[:])
		return err
	})
}
