-- Times are microseconds since 1970 in UTC. Lists and maps are JSON. Text is
-- compared byte by byte; a zero byte in it is written \0, and a backslash \\.

CREATE TABLE grants (
	seq            BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id             TEXT   COLLATE "C" NOT NULL UNIQUE,
	token_digest   BYTEA  NOT NULL CHECK (length(token_digest) = 32),
	subject_id     TEXT   NOT NULL CHECK (subject_id <> ''),
	subject_type   TEXT   NOT NULL CHECK (subject_type IN ('person', 'agent', 'workload')),
	subject_groups JSON   NOT NULL,
	owner          TEXT   NOT NULL,
	servers        JSON   NOT NULL,
	tools          JSON   NOT NULL,
	labels         JSON   NOT NULL,
	created_at     BIGINT NOT NULL,
	expires_at     BIGINT,
	revoked_at     BIGINT
);

CREATE TABLE approvals (
	seq               BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id                TEXT   COLLATE "C" NOT NULL UNIQUE,
	binding           BYTEA  NOT NULL CHECK (length(binding) = 32),
	state             TEXT   NOT NULL CHECK (state IN ('pending', 'approved', 'refused', 'used', 'expired')),
	subject_id        TEXT   NOT NULL,
	subject_type      TEXT   NOT NULL,
	subject_groups    JSON   NOT NULL,
	owner             TEXT   NOT NULL,
	grant_id          TEXT   COLLATE "C" NOT NULL,
	server            TEXT   NOT NULL,
	method            TEXT   NOT NULL,
	name              TEXT   NOT NULL,
	tool_class        TEXT   NOT NULL,
	tool_risk         TEXT   NOT NULL,
	arguments         BYTEA,
	arguments_digest  BYTEA  NOT NULL CHECK (length(arguments_digest) = 32),
	responses         BYTEA,
	responses_digest  BYTEA  NOT NULL CHECK (length(responses_digest) = 32),
	definition_digest BYTEA  NOT NULL CHECK (length(definition_digest) = 32),
	masked            JSON   NOT NULL,
	policy_revision   TEXT   NOT NULL,
	policy_digest     TEXT   NOT NULL,
	reason            TEXT   NOT NULL,
	rules             JSON   NOT NULL,
	requirements      JSON   NOT NULL,
	votes             JSON   NOT NULL,
	valid_us          BIGINT NOT NULL, -- how long it is good once it is approved
	opened_by         TEXT   NOT NULL, -- ids of decisions
	used_by           TEXT   NOT NULL,
	created_at        BIGINT NOT NULL,
	expires_at        BIGINT NOT NULL,
	decided_at        BIGINT,
	used_at           BIGINT
);

-- One call has one approval that stands.
CREATE UNIQUE INDEX approvals_standing ON approvals (binding) WHERE state IN ('pending', 'approved', 'refused');
CREATE INDEX approvals_pending_grant ON approvals (grant_id, expires_at) WHERE state = 'pending';
CREATE INDEX approvals_pending ON approvals (expires_at) WHERE state = 'pending';
CREATE INDEX approvals_expiry ON approvals (expires_at);

CREATE TABLE listings (
	server    TEXT   COLLATE "C" PRIMARY KEY,
	listed_at BIGINT NOT NULL
);

CREATE TABLE tools (
	server     TEXT  COLLATE "C" NOT NULL,
	name       TEXT  COLLATE "C" NOT NULL,
	digest     BYTEA NOT NULL CHECK (length(digest) = 32),
	definition BYTEA NOT NULL,
	PRIMARY KEY (server, name)
);

CREATE TABLE pins (
	server     TEXT   COLLATE "C" NOT NULL,
	name       TEXT   COLLATE "C" NOT NULL,
	digest     BYTEA  NOT NULL CHECK (length(digest) = 32),
	definition BYTEA  NOT NULL,
	pinned_at  BIGINT NOT NULL,
	PRIMARY KEY (server, name)
);

CREATE TABLE overrides (
	server TEXT COLLATE "C" NOT NULL,
	tool   TEXT COLLATE "C" NOT NULL,
	class  TEXT NOT NULL CHECK (class <> ''),
	traits JSON NOT NULL,
	PRIMARY KEY (server, tool)
);

-- One row. It is counted up with each change of tools, pins and overrides, so
-- that the other decision points see that there is something to read.
CREATE TABLE catalog_version (version BIGINT NOT NULL);
INSERT INTO catalog_version VALUES (0);

-- A counter is one quota as used by one combination of what it is counted per.
CREATE TABLE quota_counters (
	id         TEXT   COLLATE "C" PRIMARY KEY,
	quota      TEXT   COLLATE "C" NOT NULL,
	per        JSON   NOT NULL,
	terms      TEXT   NOT NULL, -- limit and window, as the policy last had them
	state      BYTEA  NOT NULL,
	updated_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL  -- from then on nothing of it is used
);
CREATE INDEX quota_counters_expiry ON quota_counters (expires_at);
CREATE INDEX quota_counters_quota ON quota_counters (quota, id);

-- What a call has reserved, as long as it could be given back.
CREATE TABLE quota_reservations (
	id         TEXT   COLLATE "C" PRIMARY KEY, -- of the decision
	holds      TEXT   NOT NULL,
	expires_at BIGINT NOT NULL
);
CREATE INDEX quota_reservations_expiry ON quota_reservations (expires_at);

-- Links and sessions are kept as the SHA-256 of their secret.
CREATE TABLE sign_in_links (
	digest     BYTEA  PRIMARY KEY CHECK (length(digest) = 32),
	person     JSON   NOT NULL,
	expires_at BIGINT NOT NULL
);

CREATE TABLE sessions (
	digest     BYTEA  PRIMARY KEY CHECK (length(digest) = 32),
	person     JSON   NOT NULL,
	created_at BIGINT NOT NULL,
	expires_at BIGINT NOT NULL
);

-- Keys that the replicas of one decision point share.
CREATE TABLE secrets (
	name       TEXT   COLLATE "C" PRIMARY KEY,
	value      BYTEA  NOT NULL,
	created_at BIGINT NOT NULL
);
