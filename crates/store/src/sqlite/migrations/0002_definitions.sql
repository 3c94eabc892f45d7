-- Definitions, what jobs are searched by, keys of requests, and the turn of jobs that wait.

-- How urgent it is: 0 low, 1 normal, 2 high, 3 critical.
ALTER TABLE jobs ADD COLUMN priority INTEGER NOT NULL DEFAULT 1;

-- JSON, written once. Apart from the spec, so that lists do not read it.
ALTER TABLE jobs ADD COLUMN params TEXT;

-- A job that waits is due at a moment, also where it may begin at once.
UPDATE jobs SET wake_at = created_at, record = json_set(record, '$.wake_at', created_at)
WHERE state = 'pending' AND operation IS NULL AND wake_at IS NULL;

DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (priority, wake_at, id)
    WHERE state IN ('pending', 'suspended', 'pending_retry') AND operation IS NULL AND wake_at IS NOT NULL;

-- What waits costs nothing: nobody has to look at it before it is due.
DROP INDEX jobs_unsettled;
CREATE INDEX jobs_unsettled ON jobs (id)
    WHERE operation IS NOT NULL OR state NOT IN ('pending', 'suspended', 'pending_retry', 'completed', 'failed', 'cancelled');

CREATE TABLE job_tags (
    key    TEXT NOT NULL,
    value  TEXT NOT NULL,
    job    TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (key, value, job)
) STRICT, WITHOUT ROWID;

CREATE INDEX job_tags_job ON job_tags (job);

CREATE TABLE request_keys (
    key     TEXT NOT NULL PRIMARY KEY,
    job     TEXT NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    -- Of the request that the job was made from.
    digest  TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX request_keys_job ON request_keys (job);

CREATE TABLE definitions (
    name          TEXT    NOT NULL,
    version       TEXT    NOT NULL,
    runtime_type  TEXT    NOT NULL,
    config        TEXT    NOT NULL,
    retry_policy  TEXT    NOT NULL,
    metadata      TEXT    NOT NULL,
    created_at    INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;
