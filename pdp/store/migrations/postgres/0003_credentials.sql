-- Keys that seal credentials, themselves sealed by a master key that is not here.
CREATE TABLE data_keys (
	id         BIGINT PRIMARY KEY CHECK (id > 0),
	wrapped    BYTEA  NOT NULL,
	master     TEXT   NOT NULL,
	created_at BIGINT NOT NULL
);

CREATE TABLE credentials (
	kind         TEXT   COLLATE "C" NOT NULL CHECK (kind <> ''),
	name         TEXT   COLLATE "C" NOT NULL,
	holder       TEXT   COLLATE "C" NOT NULL, -- '' is everybody
	generation   BIGINT NOT NULL CHECK (generation > 0),
	value        BYTEA  NOT NULL, -- sealed
	data_key     BIGINT NOT NULL REFERENCES data_keys (id),
	created_at   BIGINT NOT NULL,
	updated_at   BIGINT NOT NULL,
	expires_at   BIGINT,
	leased_by    TEXT   COLLATE "C" NOT NULL DEFAULT '',
	leased_until BIGINT NOT NULL DEFAULT 0,
	PRIMARY KEY (kind, name, holder)
);

CREATE INDEX credentials_data_key ON credentials (data_key);
CREATE INDEX credentials_expiry ON credentials (kind, expires_at) WHERE expires_at IS NOT NULL;
