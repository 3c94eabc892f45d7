-- Waiting that has an end, and jobs that belong to another one.

-- The first moment at which one of the times of a job that waits is over.
ALTER TABLE jobs ADD COLUMN expires_at INTEGER;

-- Written once. What it names may have been removed since.
ALTER TABLE jobs ADD COLUMN parent TEXT;

-- Its children are cancelled with it: asked for, or done. None is added any more then.
ALTER TABLE jobs ADD COLUMN ends_children TEXT CHECK (ends_children IN ('asked', 'done'));

CREATE INDEX jobs_expiring ON jobs (expires_at, id)
    WHERE state IN ('pending', 'suspended', 'pending_retry') AND operation IS NULL AND expires_at IS NOT NULL;

CREATE INDEX jobs_parent ON jobs (parent, id) WHERE parent IS NOT NULL;

DROP INDEX jobs_unsettled;
CREATE INDEX jobs_unsettled ON jobs (id)
    WHERE operation IS NOT NULL OR state NOT IN ('pending', 'suspended', 'pending_retry', 'completed', 'failed', 'cancelled')
        OR ends_children = 'asked';
