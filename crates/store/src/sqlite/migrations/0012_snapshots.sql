-- Kept states, and what the cache has of them.

-- Where a job shares the folder of a checkpoint that it did not take: that folder. The row is named <checkpoint>@<job> then.
ALTER TABLE checkpoints ADD COLUMN folder TEXT;
CREATE INDEX checkpoints_folder ON checkpoints (folder) WHERE folder IS NOT NULL;

CREATE TABLE snapshots (
    id       TEXT    NOT NULL PRIMARY KEY,
    version  INTEGER NOT NULL,
    name     TEXT,
    record   TEXT    NOT NULL
) STRICT;

CREATE UNIQUE INDEX snapshots_name ON snapshots (name) WHERE name IS NOT NULL;

-- An entry that is on its way out outlives its snapshot; any other has one.
CREATE TABLE cache (
    key           TEXT    NOT NULL PRIMARY KEY,
    snapshot      TEXT    NOT NULL,
    exit_code     INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    last_used_at  INTEGER NOT NULL,
    hits          INTEGER NOT NULL,
    bytes         INTEGER NOT NULL,
    pinned        INTEGER NOT NULL CHECK (pinned IN (0, 1)),
    state         TEXT    NOT NULL CHECK (state IN ('ready', 'evicting'))
) STRICT;

CREATE INDEX cache_snapshot ON cache (snapshot) WHERE state = 'ready';
CREATE INDEX cache_least_used ON cache (last_used_at, key) WHERE state = 'ready' AND pinned = 0;
