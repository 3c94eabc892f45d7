-- The first schema. Ids are UUIDs of version 7 as text, so that they sort by creation; times are milliseconds
-- since the Unix epoch, UTC. `record` is the whole mutable part of a job as JSON; the columns beside it repeat
-- what is searched for.

CREATE TABLE jobs (
    id          TEXT    NOT NULL PRIMARY KEY,
    version     INTEGER NOT NULL,
    name        TEXT,
    state       TEXT    NOT NULL,
    operation   TEXT,
    wake_at     INTEGER,
    sandbox     TEXT,
    -- The resume point. What a record points to is always there.
    checkpoint  TEXT    REFERENCES checkpoints (id),
    created_at  INTEGER NOT NULL,
    record      TEXT    NOT NULL,
    -- Written once, by the creation.
    spec        TEXT    NOT NULL
) STRICT;

CREATE UNIQUE INDEX jobs_name ON jobs (name) WHERE name IS NOT NULL;
CREATE UNIQUE INDEX jobs_sandbox ON jobs (sandbox) WHERE sandbox IS NOT NULL;
CREATE INDEX jobs_checkpoint ON jobs (checkpoint) WHERE checkpoint IS NOT NULL;
CREATE INDEX jobs_state ON jobs (state, id);
CREATE INDEX jobs_due ON jobs (wake_at, id) WHERE state = 'suspended' AND operation IS NULL AND wake_at IS NOT NULL;
CREATE INDEX jobs_unsettled ON jobs (id)
    WHERE operation IS NOT NULL OR state NOT IN ('suspended', 'pending_retry', 'completed', 'failed', 'cancelled');

CREATE TABLE checkpoints (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    id      TEXT NOT NULL UNIQUE,
    job     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    record  TEXT NOT NULL
) STRICT;

CREATE INDEX checkpoints_job ON checkpoints (job, seq);

CREATE TABLE tokens (
    job         TEXT    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    token       TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    status      TEXT    NOT NULL CHECK (status IN ('requested', 'done', 'failed')),
    checkpoint  TEXT,
    message     TEXT,
    PRIMARY KEY (job, token)
) STRICT, WITHOUT ROWID;

CREATE INDEX tokens_requested ON tokens (job, token) WHERE status = 'requested';

-- AUTOINCREMENT: a number is never given twice, also not after the newest entry was removed.
CREATE TABLE journal (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    job         TEXT    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    at          INTEGER NOT NULL,
    event       TEXT    NOT NULL,
    from_state  TEXT,
    to_state    TEXT    NOT NULL,
    operation   TEXT,
    generation  INTEGER NOT NULL,
    detail      TEXT
) STRICT;

CREATE INDEX journal_job ON journal (job, seq);
