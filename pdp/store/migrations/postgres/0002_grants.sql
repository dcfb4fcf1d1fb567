-- Grants that narrow: by time, by number of uses, by class and policy, to a
-- certificate, and below another grant.
ALTER TABLE grants
	ADD COLUMN not_before      BIGINT,
	ADD COLUMN max_uses        BIGINT  NOT NULL DEFAULT 0 CHECK (max_uses >= 0), -- 0: any number
	ADD COLUMN uses            BIGINT  NOT NULL DEFAULT 0,
	ADD COLUMN classes         JSON    NOT NULL DEFAULT 'null',
	ADD COLUMN policies        JSON    NOT NULL DEFAULT 'null',
	ADD COLUMN bound_to        JSON    NOT NULL DEFAULT 'null',
	ADD COLUMN held            BOOLEAN NOT NULL DEFAULT false, -- then its token_digest is zero
	ADD COLUMN parent_id       TEXT    COLLATE "C" NOT NULL DEFAULT '',
	ADD COLUMN delegations     BIGINT  NOT NULL DEFAULT 0 CHECK (delegations BETWEEN 0 AND 8),
	ADD COLUMN rotated_at      BIGINT,
	ADD COLUMN previous_digest BYTEA CHECK (length(previous_digest) = 32), -- of the token before
	ADD COLUMN previous_until  BIGINT,
	ADD COLUMN calls           BIGINT  NOT NULL DEFAULT 0,
	ADD COLUMN denials         BIGINT  NOT NULL DEFAULT 0,
	ADD COLUMN last_used_at    BIGINT,
	-- From when on its use is known: that of the grants before this version is not.
	ADD COLUMN known_from      BIGINT  NOT NULL DEFAULT 0,
	ADD CHECK (uses >= 0 AND (max_uses = 0 OR uses <= max_uses));
UPDATE grants SET known_from = (extract(epoch FROM now()) * 1000000)::BIGINT;

CREATE INDEX grants_subject ON grants (subject_id);
CREATE INDEX grants_parent ON grants (parent_id) WHERE parent_id <> '';

-- What a call has used, as long as it could be given back.
CREATE TABLE grant_uses (
	decision   TEXT   COLLATE "C" PRIMARY KEY,
	grants     JSON   NOT NULL, -- ids
	expires_at BIGINT NOT NULL
);
CREATE INDEX grant_uses_expiry ON grant_uses (expires_at);
