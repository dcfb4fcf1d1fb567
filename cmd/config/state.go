package config

import (
	"errors"
	"strings"

	"go.yaml.in/yaml/v4"
)

// State is a directory and, past one machine, a database. In the file it may be
// just one of them: a path, or postgres://….
type State struct {
	// Dir is the directory of the embedded store, the audit trail and the admin
	// socket. Default ./state. With Database it holds only what is this
	// machine's own: the trail, the socket, the last good policy.
	Dir string `yaml:"dir"`
	// Database is the postgres:// URL of a database that several decision
	// points share.
	Database string `yaml:"database"`
}

// Quota says where quotas are counted. In the file it may be just Counts.
type Quota struct {
	// Counts is the redis:// or rediss:// URL of a Redis or Valkey server, for
	// quotas that count calls. Default: where amounts are.
	Counts string `yaml:"counts"`
	// Amounts is a postgres:// URL, for quotas that have a cost. Default: the
	// database of State, or its embedded store.
	Amounts string `yaml:"amounts"`
}

// UnmarshalYAML accepts a bare directory or database in place of the mapping.
func (s *State) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		if isPostgres(n.Value) {
			s.Database = n.Value
		} else {
			s.Dir = n.Value
		}
		return nil
	}
	type plain State
	return n.Load((*plain)(s), yaml.WithKnownFields())
}

// UnmarshalYAML accepts the bare address of the counts in place of the mapping.
func (q *Quota) UnmarshalYAML(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		q.Counts = n.Value
		return nil
	}
	type plain Quota
	return n.Load((*plain)(q), yaml.WithKnownFields())
}

func isPostgres(s string) bool {
	return strings.HasPrefix(s, "postgres://") || strings.HasPrefix(s, "postgresql://")
}

func (s State) check() error {
	if s.Database != "" && !isPostgres(s.Database) {
		return errors.New("state.database: want postgres://user@host/name")
	}
	return nil
}

func (q Quota) check() error {
	if q.Counts != "" && !strings.HasPrefix(q.Counts, "redis://") && !strings.HasPrefix(q.Counts, "rediss://") {
		return errors.New("quota.counts: want redis://host:port/0, or rediss:// for TLS")
	}
	if q.Amounts != "" && !isPostgres(q.Amounts) {
		return errors.New("quota.amounts: want postgres://user@host/name")
	}
	return nil
}
