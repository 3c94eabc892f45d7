-- Queues, and what jobs say of each other: the queue and key they wait by, the one that stands for another, those that
-- follow another, those that were handed over together.

ALTER TABLE jobs ADD COLUMN queue TEXT NOT NULL DEFAULT 'default';
ALTER TABLE jobs ADD COLUMN concurrency_key TEXT;
-- What it asks for of its node.
ALTER TABLE jobs ADD COLUMN cpu_millis INTEGER;
ALTER TABLE jobs ADD COLUMN memory_bytes INTEGER;
ALTER TABLE jobs ADD COLUMN unique_key TEXT;
ALTER TABLE jobs ADD COLUMN batch TEXT;
-- Of those that are due, the jobs of one lane come in the order of `wake_at`: its priority, and 4 more while it sleeps.
ALTER TABLE jobs ADD COLUMN lane INTEGER NOT NULL DEFAULT 1;

-- Since now the column is set only while a job waits, without an operation: the index needs no more to know who does.
UPDATE jobs SET wake_at = NULL
WHERE wake_at IS NOT NULL AND (operation IS NOT NULL OR state NOT IN ('pending', 'suspended', 'pending_retry'));
UPDATE jobs SET lane = priority + 4 * (state = 'suspended'), cpu_millis = spec ->> '$.cpu_millis',
    memory_bytes = spec ->> '$.memory_bytes'
WHERE state NOT IN ('completed', 'failed', 'cancelled');

-- The answer is in the index: a claim reads no row.
DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (queue, lane, wake_at, id, concurrency_key, cpu_millis, memory_bytes) WHERE wake_at IS NOT NULL;
CREATE INDEX jobs_unique ON jobs (unique_key, state) WHERE unique_key IS NOT NULL;
CREATE INDEX jobs_batch ON jobs (batch, state, id) WHERE batch IS NOT NULL;

CREATE TABLE queues (
    name      TEXT NOT NULL PRIMARY KEY,
    settings  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- When jobs of a queue with a rate had their turn, for as long as the rate looks back.
CREATE TABLE turns (
    queue  TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    key    TEXT
) STRICT;

CREATE INDEX turns_queue ON turns (queue, at);

-- What a job waits for: gone as soon as it does no longer. `after` may be gone before its followers heard of its end.
CREATE TABLE job_after (
    after  TEXT NOT NULL,
    job    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (after, job)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_after_job ON job_after (job);

-- When daemons of this node began, and how they ended.
CREATE TABLE daemons (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    started_at  INTEGER NOT NULL,
    -- A job completed under it.
    completed   INTEGER NOT NULL DEFAULT 0,
    -- It was asked to end, and did.
    ended_well  INTEGER NOT NULL DEFAULT 0
) STRICT;
