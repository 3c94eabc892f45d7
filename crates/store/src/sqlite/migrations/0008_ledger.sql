-- The ledger: who used what from when to when. It belongs to no job, and outlives them.

CREATE TABLE ledger (
    id          INTEGER PRIMARY KEY,
    owner_kind  TEXT    NOT NULL CHECK (owner_kind IN ('job', 'machine')),
    owner       TEXT    NOT NULL,
    generation  INTEGER NOT NULL,
    kind        TEXT    NOT NULL CHECK (kind IN ('compute', 'memory', 'storage')),
    -- Thousandths of a CPU, bytes of memory, bytes of blocks.
    amount      INTEGER NOT NULL,
    from_at     INTEGER NOT NULL,
    -- Absent while it is open.
    to_at       INTEGER CHECK (to_at >= from_at),
    used        INTEGER,
    cause       TEXT    NOT NULL,
    closed_by   TEXT,
    -- JSON: what it is found by.
    labels      TEXT    NOT NULL
) STRICT;

-- Nobody has two open intervals of one kind, whatever a writer believes.
CREATE UNIQUE INDEX ledger_open ON ledger (owner_kind, owner, kind) WHERE to_at IS NULL;
CREATE INDEX ledger_owner ON ledger (owner_kind, owner, from_at);
CREATE INDEX ledger_to ON ledger (to_at);

CREATE TRIGGER ledger_closed_stays BEFORE UPDATE ON ledger WHEN OLD.to_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a closed interval of the ledger never changes');
END;

-- When the daemon was last seen alive, while anything lived that it watched over.
CREATE TABLE heartbeat (
    one  INTEGER NOT NULL PRIMARY KEY CHECK (one = 1),
    at   INTEGER NOT NULL
) STRICT;
