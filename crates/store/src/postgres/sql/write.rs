//! The statements that write. Each takes lists, one for each column, and writes all their rows at once; where not every row could be
//! written, it divides by zero, and with that the whole transaction is over: nothing has to be asked before its commit is sent.

use super::statements;

statements! {
    /// A group begins: nobody has given up this one, or taken over the lease it is written under. See `writer`.
    FENCE(UUID, INT8, INT8) false =
        "WITH mine AS (UPDATE dauer.writers SET number = $3, used = now() WHERE id = $1 AND number = $2 RETURNING 1)
         SELECT 1 / count(*)::int FROM mine";

    /// Where the answer to a commit was lost: more than `$2` where it was committed. Else `$2`, and it never will be. Below 0 where the
    /// lease of this handle was taken by somebody else.
    LOOK_UP(UUID, INT8) false =
        "UPDATE dauer.writers SET number = CASE WHEN number BETWEEN 0 AND $2 THEN $2 ELSE number END WHERE id = $1 RETURNING number";

    /// A handle that writes for the first time.
    REGISTER(UUID, INT8) false = "INSERT INTO dauer.writers (id, number) VALUES ($1, $2) ON CONFLICT DO NOTHING";

    /// Handles without a lease that wrote nothing for so long are gone.
    FORGET_WRITERS() false = "DELETE FROM dauer.writers WHERE node IS NULL AND used < now() - interval '30 days'";

    LEASE_TAKE(TEXT, INT8, TEXT) false =
        "INSERT INTO dauer.leases AS l (node, epoch, lease_until, address) VALUES ($1, 1, $2, $3)
         ON CONFLICT (node) DO UPDATE SET epoch = l.epoch + 1, lease_until = excluded.lease_until, address = excluded.address
         RETURNING epoch";
    /// Who writes under the lease of this node writes nothing any more; what is under way is waited for.
    FENCE_OFF(TEXT, UUID) false = "UPDATE dauer.writers SET number = -1 WHERE node = $1 AND id <> $2";
    WRITE_UNDER(UUID, TEXT, INT8) false = "UPDATE dauer.writers SET node = $2, epoch = $3 WHERE id = $1";
    LEASE_RENEW(TEXT, INT8) false = "UPDATE dauer.leases SET lease_until = $2 WHERE node = $1";
    LEASE_RELEASE(TEXT) false =
        "UPDATE dauer.leases SET lease_until = CASE
             WHEN EXISTS (SELECT 1 FROM dauer.jobs WHERE stage & 2 <> 0 AND node = $1) THEN 0 END
         WHERE node = $1";
    LEASE_END(TEXT, INT8, INT8) false =
        "UPDATE dauer.leases SET epoch = epoch + 1, lease_until = NULL
         WHERE node = $1 AND epoch = $2 AND lease_until <= $3 RETURNING 1";
    TAKE_OVER_JOBS(TEXT, TEXT) false =
        "UPDATE dauer.jobs SET node = $2 WHERE stage & 2 <> 0 AND node = $1 RETURNING id";

    /// Others are not told of these for a while. Who is being told of one at this moment is not waited for.
    PROMISE(TEXT_ARRAY, TEXT, INT8, INT8) false =
        "UPDATE dauer.jobs SET promised_to = $2, promised_until = $3 WHERE id IN (
             SELECT id FROM dauer.jobs WHERE id = ANY ($1) AND wake_at IS NOT NULL
                 AND (promised_to IS NULL OR promised_to = $2 OR promised_until <= $4)
             ORDER BY id FOR UPDATE SKIP LOCKED)
         RETURNING id";

    INSERT_JOBS(TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY,
                TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY,
                TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) false =
        "INSERT INTO dauer.jobs (id, version, name, state, operation, wake_at, stage, created_at, record, spec, priority, params, sandbox,
             checkpoint, expires_at, parent, ends_children, queue, lane, concurrency_key, cpu_millis, memory_bytes, unique_key, batch,
             node)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
             $24, $25)";

    /// The version it had, then what it has now. Nobody else holds it.
    UPDATE_JOBS(TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY,
                TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY) false =
        "WITH changed AS (
             UPDATE dauer.jobs j SET version = n.version, state = n.state, operation = n.operation, wake_at = n.wake_at, stage = n.stage,
                 record = n.record, sandbox = n.sandbox, checkpoint = n.checkpoint, expires_at = n.expires_at,
                 ends_children = n.ends_children, lane = n.lane, node = n.node, promised_to = NULL, promised_until = NULL
             FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15) AS n (id, expected, version, state, operation,
                 wake_at, stage, record, sandbox, checkpoint, expires_at, ends_children, lane, node, mine)
             WHERE j.id = n.id AND j.version = n.expected AND (j.node IS NULL OR n.mine IS NULL OR j.node = n.mine) RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM changed";

    /// Of the jobs of one unique key one is added at a time, whoever adds.
    LOCK_UNIQUE(TEXT_ARRAY) true =
        "SELECT pg_advisory_xact_lock(key) FROM (SELECT DISTINCT hashtextextended(k, 7) AS key FROM unnest($1) AS k ORDER BY 1) AS keys";

    /// No job of this key is in this state.
    CHECK_UNIQUE(TEXT_ARRAY, TEXT_ARRAY) true =
        "SELECT 1 / (count(*) = 0)::int FROM unnest($1, $2) AS n (key, state) JOIN dauer.jobs j ON j.unique_key = n.key AND j.state = n.state";

    /// What is cancelled with its children gets no further ones.
    CHECK_PARENTS(TEXT_ARRAY) true =
        "WITH there AS (SELECT 1 FROM dauer.jobs WHERE id = ANY ($1) AND ends_children IS NULL FOR SHARE)
         SELECT 1 / (count(*) = (SELECT count(DISTINCT p) FROM unnest($1) AS p))::int FROM there";

    /// What records point to is there.
    CHECK_CHECKPOINTS(TEXT_ARRAY) true =
        "WITH there AS (SELECT 1 FROM dauer.checkpoints WHERE id = ANY ($1) FOR KEY SHARE)
         SELECT 1 / (count(*) = (SELECT count(DISTINCT c) FROM unnest($1) AS c))::int FROM there";

    INSERT_JOURNAL(TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY,
                   TEXT_ARRAY) true =
        "WITH numbers AS (UPDATE dauer.counter SET seq = seq + cardinality($1) WHERE one = 1 RETURNING seq - cardinality($1) AS before)
         INSERT INTO dauer.journal (seq, job, at, event, from_state, to_state, operation, generation, detail, by, why)
         SELECT numbers.before + n.ord, n.job, n.at, n.event, n.from_state, n.to_state, n.operation, n.generation, n.detail, n.by, n.why
         FROM numbers, unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) WITH ORDINALITY
             AS n (job, at, event, from_state, to_state, operation, generation, detail, by, why, ord)";

    /// Behind everything before it, also where the newest entry went with its job.
    INSERT_AUDIT(INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "WITH newest AS (SELECT seq FROM dauer.counter WHERE one = 1 FOR UPDATE)
         INSERT INTO dauer.audit (after, at, event, subject, detail, by, why)
         SELECT newest.seq, n.at, n.event, n.subject, n.detail, n.by, n.why
         FROM newest, unnest($1, $2, $3, $4, $5, $6) WITH ORDINALITY AS n (at, event, subject, detail, by, why, ord) ORDER BY n.ord";

    INSERT_TAGS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.job_tags (key, value, job) SELECT * FROM unnest($1, $2, $3)";
    DELETE_TAGS(TEXT_ARRAY) true = "DELETE FROM dauer.job_tags WHERE job = ANY ($1)";
    INSERT_REQUEST_KEYS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.request_keys (key, job, digest) SELECT * FROM unnest($1, $2, $3)";
    INSERT_FOLLOWERS(TEXT_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.job_after (after, job) SELECT * FROM unnest($1, $2) ON CONFLICT DO NOTHING";
    DELETE_FOLLOWERS(TEXT_ARRAY, TEXT_ARRAY) true =
        "DELETE FROM dauer.job_after f USING unnest($1, $2) AS n (after, job) WHERE f.after = n.after AND f.job = n.job";

    /// One that is there is written over, but never another job's.
    PUT_CHECKPOINTS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) false =
        "WITH put AS (
             INSERT INTO dauer.checkpoints AS c (id, job, record) SELECT * FROM unnest($1, $2, $3)
             ON CONFLICT (id) DO UPDATE SET record = excluded.record WHERE c.job = excluded.job RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM put";
    FORGET_REQUESTED_TOKENS(TEXT_ARRAY) true = "DELETE FROM dauer.tokens WHERE job = ANY ($1) AND status = 'requested'";
    FORGET_TOKENS(TEXT_ARRAY) true = "DELETE FROM dauer.tokens WHERE job = ANY ($1)";
    PUT_TOKENS(TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) false =
        "INSERT INTO dauer.tokens (job, token, generation, status, checkpoint, message) SELECT * FROM unnest($1, $2, $3, $4, $5, $6)
         ON CONFLICT (job, token) DO UPDATE SET generation = excluded.generation, status = excluded.status,
             checkpoint = excluded.checkpoint, message = excluded.message";

    PUT_OUTPUTS(TEXT_ARRAY, TEXT_ARRAY) false =
        "INSERT INTO dauer.outputs (job, output) SELECT * FROM unnest($1, $2) ON CONFLICT (job) DO UPDATE SET output = excluded.output";
    DELETE_OUTPUTS(TEXT_ARRAY) true = "DELETE FROM dauer.outputs WHERE job = ANY ($1)";
    INSERT_SIGNALS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY) true =
        "INSERT INTO dauer.signals (job, id, name, payload, sent_at, standing)
         SELECT n.job, n.id, n.name, n.payload, n.sent_at, 'waiting'
         FROM unnest($1, $2, $3, $4, $5) WITH ORDINALITY AS n (job, id, name, payload, sent_at, ord) ORDER BY n.ord
         ON CONFLICT (job, id) DO NOTHING";
    TAKE_SIGNALS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) false =
        "WITH taken AS (
             UPDATE dauer.signals s SET standing = 'taken', token = n.token FROM unnest($1, $2, $3) AS n (job, id, token)
             WHERE s.job = n.job AND s.id = n.id AND s.standing = 'waiting' RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM taken";
    SEAL_SIGNALS(TEXT_ARRAY) true =
        "UPDATE dauer.signals SET standing = 'sealed' WHERE job = ANY ($1) AND standing = 'taken'";
    FREE_SIGNALS(TEXT_ARRAY) true =
        "UPDATE dauer.signals SET standing = 'waiting' WHERE job = ANY ($1) AND standing = 'taken'";
    FREE_ALL_SIGNALS(TEXT_ARRAY) true =
        "UPDATE dauer.signals SET standing = 'waiting', token = NULL WHERE job = ANY ($1) AND token IS NOT NULL";
    PUT_WAITS(TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, BOOL_ARRAY) false =
        "INSERT INTO dauer.waits (job, token, give_up_at, timed_out) SELECT * FROM unnest($1, $2, $3, $4)
         ON CONFLICT (job, token) DO UPDATE SET give_up_at = excluded.give_up_at, timed_out = excluded.timed_out";
    DELETE_WAITS(TEXT_ARRAY) true = "DELETE FROM dauer.waits WHERE job = ANY ($1)";

    /// `json`, not `jsonb`: it leaves every value as it was written.
    DESCRIBE_JOBS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) false =
        "UPDATE dauer.jobs j SET spec = (
             SELECT json_object_agg(f.key, f.value)::text FROM (
                 SELECT key, value FROM json_each(j.spec::json) WHERE key NOT IN ('tags', 'metadata')
                 UNION ALL SELECT 'tags', n.tags::json UNION ALL SELECT 'metadata', n.metadata::json) AS f)
         FROM unnest($1, $2, $3) AS n (id, tags, metadata) WHERE j.id = n.id";

    OPEN_INTERVALS(TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.ledger (owner_kind, owner, generation, kind, amount, from_at, cause, labels)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (owner_kind, owner, kind) WHERE to_at IS NULL DO NOTHING";
    CLOSE_INTERVALS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY) true =
        "UPDATE dauer.ledger l SET to_at = greatest(l.from_at, n.to_at), used = n.used, closed_by = n.closed_by
         FROM unnest($1, $2, $3, $4, $5, $6) AS n (owner_kind, owner, kind, to_at, used, closed_by)
         WHERE l.owner_kind = n.owner_kind AND l.owner = n.owner AND l.kind = n.kind AND l.to_at IS NULL";
    /// What was used so far stays under the old labels.
    SPLIT_INTERVALS(TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY) false =
        "INSERT INTO dauer.ledger (owner_kind, owner, generation, kind, amount, from_at, to_at, cause, closed_by, labels)
         SELECT l.owner_kind, l.owner, l.generation, l.kind, l.amount, l.from_at, greatest(l.from_at, n.at), l.cause, 'relabelled', l.labels
         FROM unnest($1, $2, $3) AS n (owner_kind, owner, at)
         JOIN dauer.ledger l ON l.owner_kind = n.owner_kind AND l.owner = n.owner AND l.to_at IS NULL";
    RELABEL_INTERVALS(TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY) false =
        "UPDATE dauer.ledger l SET from_at = greatest(l.from_at, n.at), cause = 'relabelled', labels = n.labels
         FROM unnest($1, $2, $3, $4) AS n (owner_kind, owner, at, labels)
         WHERE l.owner_kind = n.owner_kind AND l.owner = n.owner AND l.to_at IS NULL";
    /// About so many; all that ended in one moment go together.
    PRUNE_LEDGER(INT8_ARRAY, INT8_ARRAY) false =
        "DELETE FROM dauer.ledger WHERE to_at < coalesce(
             (SELECT to_at FROM dauer.ledger WHERE to_at < $1[1] ORDER BY to_at LIMIT 1 OFFSET $2[1]), $1[1])";
    PUT_HEARTBEAT(TEXT_ARRAY, INT8_ARRAY) false =
        "INSERT INTO dauer.heartbeat (node, at) SELECT * FROM unnest($1, $2) ON CONFLICT (node) DO UPDATE SET at = excluded.at";

    FORGET_TURNS(TEXT_ARRAY, INT8_ARRAY) true =
        "DELETE FROM dauer.turns t USING unnest($1, $2) AS n (queue, before) WHERE t.queue = n.queue AND t.at < n.before";
    INSERT_TURNS(TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY) true = "INSERT INTO dauer.turns (queue, key, at) SELECT * FROM unnest($1, $2, $3)";

    INSERT_DEFINITIONS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY) false =
        "INSERT INTO dauer.definitions (name, version, runtime_type, config, retry_policy, metadata, created_at)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)";
    DELETE_DEFINITIONS(TEXT_ARRAY, TEXT_ARRAY) false =
        "WITH gone AS (DELETE FROM dauer.definitions d USING unnest($1, $2) AS n (name, version)
             WHERE d.name = n.name AND d.version = n.version RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM gone";

    INSERT_SCHEDULES(TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY) false =
        "INSERT INTO dauer.schedules (name, version, due_at, record) SELECT * FROM unnest($1, $2, $3, $4)";
    UPDATE_SCHEDULES(TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY) false =
        "WITH changed AS (
             UPDATE dauer.schedules s SET version = n.version, due_at = n.due_at, record = n.record
             FROM unnest($1, $2, $3, $4) AS n (name, version, due_at, record)
             WHERE s.name = n.name AND s.version = n.version - 1 RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM changed";
    DELETE_SCHEDULES(TEXT_ARRAY) false =
        "WITH gone AS (DELETE FROM dauer.schedules WHERE name = ANY ($1) RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM gone";

    PUT_QUEUES(TEXT_ARRAY, TEXT_ARRAY) false =
        "INSERT INTO dauer.queues (name, settings) SELECT * FROM unnest($1, $2)
         ON CONFLICT (name) DO UPDATE SET settings = excluded.settings";
    DELETE_QUEUES(TEXT_ARRAY) false =
        "WITH gone AS (DELETE FROM dauer.queues WHERE name = ANY ($1) RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM gone";

    /// So many daemons of a node are remembered.
    INSERT_DAEMON(TEXT_ARRAY, INT8_ARRAY) false =
        "WITH old AS (DELETE FROM dauer.daemons WHERE seq IN (
             SELECT seq FROM dauer.daemons WHERE node IS NOT DISTINCT FROM $1[1] ORDER BY seq DESC OFFSET 99))
         INSERT INTO dauer.daemons (node, started_at) SELECT * FROM unnest($1, $2)";
    DAEMON_COMPLETED(TEXT_ARRAY) false =
        "UPDATE dauer.daemons SET completed = true
         WHERE seq = (SELECT seq FROM dauer.daemons WHERE node IS NOT DISTINCT FROM $1[1] ORDER BY seq DESC LIMIT 1)";
    DAEMON_ENDED_WELL(TEXT_ARRAY) false =
        "UPDATE dauer.daemons SET ended_well = true
         WHERE seq = (SELECT seq FROM dauer.daemons WHERE node IS NOT DISTINCT FROM $1[1] ORDER BY seq DESC LIMIT 1)";

    INSERT_ACCESS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY) false =
        "INSERT INTO dauer.access (id, name, scope, digest, created_at, expires_at, last_used_at)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7)";
    /// One that was removed meanwhile stays removed.
    ACCESS_USED(TEXT_ARRAY, INT8_ARRAY) false =
        "UPDATE dauer.access a SET last_used_at = n.at FROM unnest($1, $2) AS n (id, at) WHERE a.id = n.id";
    DELETE_ACCESS(TEXT_ARRAY) false =
        "WITH gone AS (DELETE FROM dauer.access WHERE id = ANY ($1) RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM gone";

    /// Who points to it meanwhile waits for the end of this.
    LOCK_CHECKPOINTS(TEXT_ARRAY, TEXT_ARRAY) true =
        "SELECT 1 FROM dauer.checkpoints c JOIN unnest($1, $2) AS n (job, name) ON c.id = n.name AND c.job = n.job FOR UPDATE OF c";
    CHECK_NOT_POINTED_TO(TEXT_ARRAY, TEXT_ARRAY) true =
        "SELECT 1 / (count(*) = 0)::int FROM dauer.jobs j JOIN unnest($1, $2) AS n (job, name) ON j.id = n.job AND j.checkpoint = n.name";
    DELETE_CHECKPOINTS(TEXT_ARRAY, TEXT_ARRAY) true =
        "DELETE FROM dauer.checkpoints c USING unnest($1, $2) AS n (job, name) WHERE c.id = n.name AND c.job = n.job";

    /// Of this version, ended, and held by nobody else. Whatever belongs to it goes with it.
    DELETE_JOBS(TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY) false =
        "WITH gone AS (DELETE FROM dauer.jobs j USING unnest($1, $2, $3) AS n (id, version, mine)
             WHERE j.id = n.id AND j.version = n.version AND j.state IN ('completed', 'failed', 'cancelled')
                 AND (j.node IS NULL OR n.mine IS NULL OR j.node = n.mine) RETURNING 1),
         checkpoints AS (DELETE FROM dauer.checkpoints WHERE job = ANY ($1)),
         tokens AS (DELETE FROM dauer.tokens WHERE job = ANY ($1)),
         journal AS (DELETE FROM dauer.journal WHERE job = ANY ($1)),
         tags AS (DELETE FROM dauer.job_tags WHERE job = ANY ($1)),
         keys AS (DELETE FROM dauer.request_keys WHERE job = ANY ($1)),
         outputs AS (DELETE FROM dauer.outputs WHERE job = ANY ($1)),
         signals AS (DELETE FROM dauer.signals WHERE job = ANY ($1)),
         waits AS (DELETE FROM dauer.waits WHERE job = ANY ($1)),
         followed AS (DELETE FROM dauer.job_after WHERE job = ANY ($1))
         SELECT 1 / (count(*) = cardinality($1))::int FROM gone";

    FORGET_JOURNAL(INT8_ARRAY, INT8_ARRAY) false =
        "DELETE FROM dauer.journal WHERE at < $1[1] AND seq < (SELECT seq FROM dauer.journal ORDER BY seq LIMIT 1) + $2[1]";
    FORGET_AUDIT(INT8_ARRAY, INT8_ARRAY) false =
        "DELETE FROM dauer.audit WHERE at < $1[1] AND id < (SELECT id FROM dauer.audit ORDER BY id LIMIT 1) + $2[1]";

    /// Tells everybody who listens, when this is committed.
    NOTIFY(TEXT_ARRAY, TEXT_ARRAY) true = "SELECT pg_notify(n.channel, n.said) FROM unnest($1, $2) AS n (channel, said)";
}
