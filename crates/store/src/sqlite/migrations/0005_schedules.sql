-- Who asked for what, and schedules: what is to be submitted again and again.

ALTER TABLE journal ADD COLUMN by TEXT;
ALTER TABLE journal ADD COLUMN why TEXT;

-- What was done to other things than jobs, and jobs that were removed. `after` is the position of the newest journal entry then:
-- both are read as one history.
CREATE TABLE audit (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    after    INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    event    TEXT    NOT NULL,
    subject  TEXT    NOT NULL,
    detail   TEXT,
    by       TEXT,
    why      TEXT
) STRICT;

CREATE INDEX audit_after ON audit (after, id);

-- `record` is the whole schedule as JSON; the columns beside it repeat what is searched for.
CREATE TABLE schedules (
    name     TEXT    NOT NULL PRIMARY KEY,
    version  INTEGER NOT NULL,
    -- The moment at which somebody has to look at it; absent where nothing is due ever again, or while it is paused.
    due_at   INTEGER,
    record   TEXT    NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX schedules_due ON schedules (due_at, name) WHERE due_at IS NOT NULL;
