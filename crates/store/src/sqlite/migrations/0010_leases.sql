-- Several daemons on one store: who acts, under which epoch, until when, and which unsettled job is whose.
CREATE TABLE leases (
    num      INTEGER PRIMARY KEY AUTOINCREMENT,
    node     TEXT    NOT NULL UNIQUE,
    epoch    INTEGER NOT NULL,
    -- NULL once it was taken over or given back; the epoch stays, so that an older holder remains one.
    until    INTEGER,
    address  TEXT
) STRICT;

-- The `num` of the node that holds an unsettled job.
ALTER TABLE jobs ADD COLUMN node INTEGER;
