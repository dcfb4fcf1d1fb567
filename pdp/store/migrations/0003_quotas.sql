-- A counter is one quota as used by one combination of what it is counted per.
CREATE TABLE quota_counters (
	id         TEXT    PRIMARY KEY NOT NULL,
	quota      TEXT    NOT NULL,
	per        TEXT    NOT NULL, -- {"subject": "ada", …}
	terms      TEXT    NOT NULL, -- limit and window, as the policy last had them
	state      BLOB    NOT NULL,
	updated_at INTEGER NOT NULL,
	expires_at INTEGER NOT NULL  -- from then on nothing of it is used
) STRICT;
CREATE INDEX quota_counters_expiry ON quota_counters (expires_at);
CREATE INDEX quota_counters_quota ON quota_counters (quota, id);

-- What a call has reserved, as long as it could be given back.
CREATE TABLE quota_reservations (
	id         TEXT    PRIMARY KEY, -- of the decision
	holds      TEXT    NOT NULL,
	expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX quota_reservations_expiry ON quota_reservations (expires_at);
