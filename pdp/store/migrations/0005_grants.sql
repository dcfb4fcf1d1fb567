-- Grants that narrow: by time, by number of uses, by class and policy, to a
-- certificate, and below another grant.
ALTER TABLE grants ADD COLUMN not_before      INTEGER;
ALTER TABLE grants ADD COLUMN max_uses        INTEGER NOT NULL DEFAULT 0 CHECK (max_uses >= 0); -- 0: any number
ALTER TABLE grants ADD COLUMN uses            INTEGER NOT NULL DEFAULT 0 CHECK (uses >= 0 AND (max_uses = 0 OR uses <= max_uses));
ALTER TABLE grants ADD COLUMN classes         TEXT    NOT NULL DEFAULT 'null';
ALTER TABLE grants ADD COLUMN policies        TEXT    NOT NULL DEFAULT 'null';
ALTER TABLE grants ADD COLUMN bound_to        TEXT    NOT NULL DEFAULT 'null';
ALTER TABLE grants ADD COLUMN held            INTEGER NOT NULL DEFAULT 0 CHECK (held IN (0, 1)); -- then its token_digest is zero
ALTER TABLE grants ADD COLUMN parent_id       TEXT    NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN delegations     INTEGER NOT NULL DEFAULT 0 CHECK (delegations BETWEEN 0 AND 8);
ALTER TABLE grants ADD COLUMN rotated_at      INTEGER;
ALTER TABLE grants ADD COLUMN previous_digest BLOB CHECK (length(previous_digest) = 32); -- of the token before
ALTER TABLE grants ADD COLUMN previous_until  INTEGER;
ALTER TABLE grants ADD COLUMN calls           INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN denials         INTEGER NOT NULL DEFAULT 0;
ALTER TABLE grants ADD COLUMN last_used_at    INTEGER;
-- From when on its use is known: that of the grants before this version is not.
ALTER TABLE grants ADD COLUMN known_from      INTEGER NOT NULL DEFAULT 0;
UPDATE grants SET known_from = CAST(unixepoch('subsec') * 1000000 AS INTEGER);

CREATE INDEX grants_subject ON grants (subject_id);
CREATE INDEX grants_parent ON grants (parent_id) WHERE parent_id <> '';

-- What a call has used, as long as it could be given back.
CREATE TABLE grant_uses (
	decision   TEXT    PRIMARY KEY,
	grants     TEXT    NOT NULL, -- ids
	expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX grant_uses_expiry ON grant_uses (expires_at);
