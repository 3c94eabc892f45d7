-- Kept states, and what the cache has of them. An older dauer that is running goes on: it finds each checkpoint that a job took where it
-- was, and does not know of the rest.

-- Where a job shares the folder of a checkpoint that it did not take: that folder. The row is named <checkpoint>@<job> then.
ALTER TABLE dauer.checkpoints ADD COLUMN folder text COLLATE "C";
CREATE INDEX checkpoints_folder ON dauer.checkpoints (folder) WHERE folder IS NOT NULL;

CREATE TABLE dauer.snapshots (
    id       text   COLLATE "C" NOT NULL PRIMARY KEY,
    version  bigint NOT NULL,
    name     text   COLLATE "C",
    record   text   COLLATE "C" NOT NULL
);

CREATE UNIQUE INDEX snapshots_name ON dauer.snapshots (name) WHERE name IS NOT NULL;

-- An entry that is on its way out outlives its snapshot; any other has one.
CREATE TABLE dauer.cache (
    key           text    COLLATE "C" NOT NULL PRIMARY KEY,
    snapshot      text    COLLATE "C" NOT NULL,
    exit_code     bigint  NOT NULL,
    created_at    bigint  NOT NULL,
    last_used_at  bigint  NOT NULL,
    hits          bigint  NOT NULL,
    bytes         bigint  NOT NULL,
    pinned        boolean NOT NULL,
    state         text    COLLATE "C" NOT NULL CHECK (state IN ('ready', 'evicting'))
);

CREATE INDEX cache_snapshot ON dauer.cache (snapshot) WHERE state = 'ready';
CREATE INDEX cache_least_used ON dauer.cache (last_used_at, key) WHERE state = 'ready' AND NOT pinned;
