-- Keys that seal credentials, themselves sealed by a master key that is not here.
CREATE TABLE data_keys (
	id         INTEGER PRIMARY KEY CHECK (id > 0),
	wrapped    BLOB    NOT NULL,
	master     TEXT    NOT NULL,
	created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE credentials (
	kind         TEXT    NOT NULL CHECK (kind <> ''),
	name         TEXT    NOT NULL,
	holder       TEXT    NOT NULL, -- '' is everybody
	generation   INTEGER NOT NULL CHECK (generation > 0),
	value        BLOB    NOT NULL, -- sealed
	data_key     INTEGER NOT NULL REFERENCES data_keys (id),
	created_at   INTEGER NOT NULL,
	updated_at   INTEGER NOT NULL,
	expires_at   INTEGER,
	leased_by    TEXT    NOT NULL DEFAULT '',
	leased_until INTEGER NOT NULL DEFAULT 0,
	PRIMARY KEY (kind, name, holder)
) STRICT;

CREATE INDEX credentials_data_key ON credentials (data_key);
CREATE INDEX credentials_expiry ON credentials (kind, expires_at) WHERE expires_at IS NOT NULL;
