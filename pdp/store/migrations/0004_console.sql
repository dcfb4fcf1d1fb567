-- Links and sessions are kept as the SHA-256 of their secret.
CREATE TABLE sign_in_links (
	digest     BLOB    PRIMARY KEY CHECK (length(digest) = 32),
	person     TEXT    NOT NULL, -- JSON
	expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
	digest     BLOB    PRIMARY KEY CHECK (length(digest) = 32),
	person     TEXT    NOT NULL, -- JSON
	created_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Keys that the replicas of one decision point share.
CREATE TABLE secrets (
	name       TEXT    PRIMARY KEY,
	value      BLOB    NOT NULL,
	created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
