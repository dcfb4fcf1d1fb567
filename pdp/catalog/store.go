package catalog

import (
	"context"
	"time"
)

// Store keeps the catalog. Its methods are safe for concurrent use, return
// when what they write is durable, and write all or nothing.
type Store interface {
	// Catalog returns everything that is stored.
	Catalog(ctx context.Context) (Stored, error)
	// SaveListing records that a listing of a server was seen: put are the
	// tools that are new or have changed, gone the names that it no longer has.
	SaveListing(ctx context.Context, server string, at time.Time, put []Listed, gone []string) error
	// SavePins replaces the pins of these tools and leaves the others.
	SavePins(ctx context.Context, pins []Pin) error
	// SaveOverrides replaces the overrides of these tools; one without a class
	// is removed.
	SaveOverrides(ctx context.Context, overrides []Classification) error
}

// Stored is the content of a store.
type Stored struct {
	ListedAt  map[string]time.Time // by server
	Listed    []Listed
	Pins      []Pin
	Overrides []Classification
}

// Listed is a tool as it was last listed.
type Listed struct {
	Server, Name string
	Digest       Digest
	Definition   []byte // raw
}

// Pin is the definition of a tool that an operator took for good.
type Pin struct {
	Server, Name string
	Digest       Digest
	Definition   []byte // raw
	At           time.Time
}

// Classification is an operator's word on one tool.
type Classification struct {
	Server, Tool string
	Class        string // "" removes it
	Traits       []string
}
