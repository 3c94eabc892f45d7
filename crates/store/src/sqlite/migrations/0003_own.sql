-- What jobs ask for themselves: their output, the signals sent to them, and waits for one that have an end.
-- Output and payloads are JSON, kept as they were sent.

CREATE TABLE outputs (
    job     TEXT NOT NULL PRIMARY KEY REFERENCES jobs (id) ON DELETE CASCADE,
    output  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE signals (
    -- The order of arrival.
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    job      TEXT    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    id       TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    payload  TEXT    NOT NULL,
    sent_at  INTEGER NOT NULL,
    -- taken: since the last checkpoint. sealed: before it, so that no rollback gives it back.
    standing TEXT    NOT NULL CHECK (standing IN ('waiting', 'taken', 'sealed')),
    -- Of the wait that took it; of a waiting one, the wait that had it before the rollback.
    token    TEXT,
    UNIQUE (job, id)
) STRICT;

CREATE INDEX signals_waiting ON signals (job, name, seq) WHERE standing = 'waiting';
CREATE INDEX signals_taken ON signals (job) WHERE standing = 'taken';
CREATE INDEX signals_token ON signals (job, token) WHERE token IS NOT NULL;

CREATE TABLE waits (
    job         TEXT    NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    token       TEXT    NOT NULL,
    give_up_at  INTEGER NOT NULL,
    timed_out   INTEGER NOT NULL,
    PRIMARY KEY (job, token)
) STRICT, WITHOUT ROWID;
