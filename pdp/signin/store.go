// Package signin is who may sign in to the console, and what is kept of it.
package signin

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"
)

// ErrNotFound says that there is no such link or session, or not any more.
var ErrNotFound = errors.New("no such secret")

// Digest is the SHA-256 of a secret. Secrets have 128 random bits or more, so
// that a slow hash would protect nothing.
type Digest = [sha256.Size]byte

// Link lets a person sign in once.
type Link struct {
	Digest    Digest
	Person    Person
	ExpiresAt time.Time
}

// Session is somebody who is signed in.
type Session struct {
	Digest    Digest
	Person    Person
	CreatedAt time.Time
	ExpiresAt time.Time
}

// Store keeps links and sessions. Its methods are safe for concurrent use.
// Times are kept to the microsecond at least, in UTC.
type Store interface {
	// InsertSignInLink returns when the link is durable.
	InsertSignInLink(ctx context.Context, l Link) error
	// TakeSignInLink removes the link and returns it. Of concurrent callers
	// exactly one gets it; the others, and whoever comes at ExpiresAt or later,
	// get ErrNotFound.
	TakeSignInLink(ctx context.Context, d Digest, at time.Time) (Link, error)
	// InsertSession returns when the session is durable. Links and sessions that
	// have expired at its creation may be removed.
	InsertSession(ctx context.Context, s Session) error
	// Session returns ErrNotFound for one that is not there or has expired.
	Session(ctx context.Context, d Digest, at time.Time) (Session, error)
	// DeleteSession returns when nobody can use the session any more. One that
	// is not there is no error.
	DeleteSession(ctx context.Context, d Digest) error
}

// NewSecret makes a secret and what is stored of it.
func NewSecret() (string, Digest) {
	secret := rand.Text() + rand.Text()
	return secret, DigestOf(secret)
}

// DigestOf is what is stored of a secret.
func DigestOf(secret string) Digest { return sha256.Sum256([]byte(secret)) }
