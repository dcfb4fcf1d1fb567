-- Times are microseconds since 1970 in UTC. Lists and maps are JSON.

CREATE TABLE grants (
	seq            INTEGER PRIMARY KEY AUTOINCREMENT,
	id             TEXT    NOT NULL UNIQUE,
	token_digest   BLOB    NOT NULL CHECK (length(token_digest) = 32),
	subject_id     TEXT    NOT NULL CHECK (subject_id <> ''),
	subject_type   TEXT    NOT NULL CHECK (subject_type IN ('person', 'agent', 'workload')),
	subject_groups TEXT    NOT NULL,
	servers        TEXT    NOT NULL,
	tools          TEXT    NOT NULL,
	labels         TEXT    NOT NULL,
	created_at     INTEGER NOT NULL,
	expires_at     INTEGER,
	revoked_at     INTEGER
) STRICT;

CREATE TABLE approvals (
	seq               INTEGER PRIMARY KEY AUTOINCREMENT,
	id                TEXT    NOT NULL UNIQUE,
	binding           BLOB    NOT NULL CHECK (length(binding) = 32),
	state             TEXT    NOT NULL CHECK (state IN ('pending', 'expired')),
	subject_id        TEXT    NOT NULL,
	subject_type      TEXT    NOT NULL,
	subject_groups    TEXT    NOT NULL,
	grant_id          TEXT    NOT NULL,
	server            TEXT    NOT NULL,
	method            TEXT    NOT NULL,
	name              TEXT    NOT NULL,
	arguments         BLOB,
	arguments_digest  BLOB    NOT NULL CHECK (length(arguments_digest) = 32),
	definition_digest BLOB    NOT NULL CHECK (length(definition_digest) = 32),
	policy_revision   TEXT    NOT NULL,
	policy_digest     TEXT    NOT NULL,
	reason            TEXT    NOT NULL,
	rules             TEXT    NOT NULL,
	approvers         TEXT    NOT NULL,
	created_at        INTEGER NOT NULL,
	expires_at        INTEGER NOT NULL
) STRICT;

-- One call waits once.
CREATE UNIQUE INDEX approvals_pending_call ON approvals (binding) WHERE state = 'pending';
CREATE INDEX approvals_pending_grant ON approvals (grant_id, expires_at) WHERE state = 'pending';

CREATE TABLE listings (
	server    TEXT    PRIMARY KEY,
	listed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE tools (
	server     TEXT NOT NULL,
	name       TEXT NOT NULL,
	digest     BLOB NOT NULL CHECK (length(digest) = 32),
	definition BLOB NOT NULL,
	PRIMARY KEY (server, name)
) STRICT;

CREATE TABLE pins (
	server     TEXT    NOT NULL,
	name       TEXT    NOT NULL,
	digest     BLOB    NOT NULL CHECK (length(digest) = 32),
	definition BLOB    NOT NULL,
	pinned_at  INTEGER NOT NULL,
	PRIMARY KEY (server, name)
) STRICT;

CREATE TABLE overrides (
	server TEXT NOT NULL,
	tool   TEXT NOT NULL,
	class  TEXT NOT NULL CHECK (class <> ''),
	traits TEXT NOT NULL,
	PRIMARY KEY (server, tool)
) STRICT, WITHOUT ROWID;
