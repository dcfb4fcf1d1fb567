-- Approvals are decided and used. Their binding does not name the policy any
-- more, so that those which were open are of no use: their calls ask again.

ALTER TABLE grants ADD COLUMN owner TEXT NOT NULL DEFAULT '';

CREATE TABLE approvals_2 (
	seq               INTEGER PRIMARY KEY AUTOINCREMENT,
	id                TEXT    NOT NULL UNIQUE,
	binding           BLOB    NOT NULL CHECK (length(binding) = 32),
	state             TEXT    NOT NULL CHECK (state IN ('pending', 'approved', 'refused', 'used', 'expired')),
	subject_id        TEXT    NOT NULL,
	subject_type      TEXT    NOT NULL,
	subject_groups    TEXT    NOT NULL,
	owner             TEXT    NOT NULL,
	grant_id          TEXT    NOT NULL,
	server            TEXT    NOT NULL,
	method            TEXT    NOT NULL,
	name              TEXT    NOT NULL,
	tool_class        TEXT    NOT NULL,
	tool_risk         TEXT    NOT NULL,
	arguments         BLOB,
	arguments_digest  BLOB    NOT NULL CHECK (length(arguments_digest) = 32),
	responses         BLOB,
	responses_digest  BLOB    NOT NULL CHECK (length(responses_digest) = 32),
	definition_digest BLOB    NOT NULL CHECK (length(definition_digest) = 32),
	masked            TEXT    NOT NULL,
	policy_revision   TEXT    NOT NULL,
	policy_digest     TEXT    NOT NULL,
	reason            TEXT    NOT NULL,
	rules             TEXT    NOT NULL,
	requirements      TEXT    NOT NULL,
	votes             TEXT    NOT NULL,
	valid_us          INTEGER NOT NULL, -- how long it is good once it is approved
	opened_by         TEXT    NOT NULL, -- ids of decisions
	used_by           TEXT    NOT NULL,
	created_at        INTEGER NOT NULL,
	expires_at        INTEGER NOT NULL,
	decided_at        INTEGER,
	used_at           INTEGER
) STRICT;

INSERT INTO approvals_2
SELECT seq, id, binding, 'expired', subject_id, subject_type, subject_groups, '', grant_id, server, method, name, '', '',
	arguments, arguments_digest, NULL, zeroblob(32), definition_digest, 'null', policy_revision, policy_digest, reason, rules,
	json_array(json_object('Approvers', json(approvers), 'Required', 1)), 'null', 0, '', '',
	created_at, expires_at, NULL, NULL
FROM approvals;

DROP TABLE approvals;
ALTER TABLE approvals_2 RENAME TO approvals;

-- One call has one approval that stands.
CREATE UNIQUE INDEX approvals_standing ON approvals (binding) WHERE state IN ('pending', 'approved', 'refused');
CREATE INDEX approvals_pending_grant ON approvals (grant_id, expires_at) WHERE state = 'pending';
CREATE INDEX approvals_pending ON approvals (expires_at) WHERE state = 'pending';
CREATE INDEX approvals_expiry ON approvals (expires_at);
