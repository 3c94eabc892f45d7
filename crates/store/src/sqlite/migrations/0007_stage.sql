-- What is to be done about a record, as bits: 1 it waits, 2 it is unsettled and somebody has to look at it; 0: it ended and is done
-- with. SQLite weighs the condition of each partial index with each write of a row, and takes a list of states apart each time.

ALTER TABLE jobs ADD COLUMN stage INTEGER NOT NULL DEFAULT 2;

UPDATE jobs SET stage = CASE
    WHEN operation IS NOT NULL THEN 2
    WHEN state IN ('completed', 'failed', 'cancelled') THEN 0
    WHEN state IN ('pending', 'suspended', 'pending_retry') THEN 1
    ELSE 2 END;

UPDATE jobs SET stage = stage | 2 WHERE ends_children = 'asked';

DROP INDEX jobs_due;
CREATE INDEX jobs_due ON jobs (priority, wake_at, id) WHERE stage & 1;

DROP INDEX jobs_expiring;
CREATE INDEX jobs_expiring ON jobs (expires_at, id) WHERE stage & 1 AND expires_at IS NOT NULL;

DROP INDEX jobs_unsettled;
CREATE INDEX jobs_unsettled ON jobs (id) WHERE stage & 2;

-- Lists by state. Those that are unsettled are few.
DROP INDEX jobs_state;
CREATE INDEX jobs_ended ON jobs (state, id) WHERE stage = 0;
CREATE INDEX jobs_waiting ON jobs (state, id) WHERE stage & 1;
