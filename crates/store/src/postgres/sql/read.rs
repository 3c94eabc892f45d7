//! The statements that read. Each answers its question whole, from one moment.

use super::statements;

statements! {
    JOBS(TEXT_ARRAY) true =
        "SELECT j.id, j.record, j.spec, j.params FROM unnest($1) WITH ORDINALITY AS n (id, ord) JOIN dauer.jobs j ON j.id = n.id
         ORDER BY n.ord";
    KEYED(TEXT_ARRAY) true = "SELECT key, job, digest FROM dauer.request_keys WHERE key = ANY ($1)";
    /// An exact id, an exact name, and two of those that begin with it where `$3` says so.
    FIND(TEXT, TEXT, BOOL) true =
        "SELECT id, 0::bigint AS rank FROM dauer.jobs WHERE id = $1
         UNION ALL SELECT id, 1 FROM dauer.jobs WHERE name = $1
         UNION ALL (SELECT id, 2 FROM dauer.jobs WHERE $3 AND id >= $1 AND id < $2 LIMIT 2)
         ORDER BY 2";

    LIST(TEXT, INT8) true = "SELECT id, record, spec FROM dauer.jobs WHERE id < $1 ORDER BY id DESC LIMIT $2";
    LIST_NAMED(TEXT, TEXT) true = "SELECT id, record, spec FROM dauer.jobs WHERE id < $1 AND name = $2";
    LIST_OF_STATES(TEXT, INT8, TEXT_ARRAY) true =
        "SELECT j.id, j.record, j.spec FROM unnest($3) AS s (state) CROSS JOIN LATERAL (
             (SELECT id, record, spec FROM dauer.jobs WHERE stage = 0 AND state = s.state AND id < $1 ORDER BY id DESC LIMIT $2)
             UNION ALL
             (SELECT id, record, spec FROM dauer.jobs WHERE stage & 1 <> 0 AND state = s.state AND id < $1 ORDER BY id DESC LIMIT $2)
             UNION ALL
             (SELECT id, record, spec FROM dauer.jobs WHERE stage & 2 <> 0 AND stage & 1 = 0 AND state = s.state AND id < $1
              ORDER BY id DESC LIMIT $2)) AS j
         ORDER BY j.id DESC LIMIT $2";
    LIST_OF_BATCH(TEXT, INT8, TEXT_ARRAY, TEXT) true =
        "SELECT j.id, j.record, j.spec FROM unnest($3) AS s (state) CROSS JOIN LATERAL (
             SELECT id, record, spec FROM dauer.jobs WHERE batch = $4 AND state = s.state AND id < $1 ORDER BY id DESC LIMIT $2) AS j
         ORDER BY j.id DESC LIMIT $2";
    LIST_TAGGED(TEXT, INT8, TEXT, TEXT) true =
        "SELECT j.id, j.record, j.spec FROM (
             SELECT job FROM dauer.job_tags WHERE key = $3 AND value = $4 AND job < $1 ORDER BY job DESC LIMIT $2) AS t
         JOIN dauer.jobs j ON j.id = t.job ORDER BY j.id DESC";
    UNSETTLED(TEXT) true =
        "SELECT id, record, spec FROM dauer.jobs WHERE stage & 2 <> 0 AND (node IS NULL OR node = $1) ORDER BY id";
    ENDED(TEXT, INT8, TEXT_ARRAY) true =
        "SELECT j.id, j.record, j.spec FROM unnest($3) AS s (state) CROSS JOIN LATERAL (
             (SELECT id, record, spec FROM dauer.jobs WHERE stage = 0 AND state = s.state AND id > $1 ORDER BY id LIMIT $2)
             UNION ALL
             (SELECT id, record, spec FROM dauer.jobs WHERE stage & 2 <> 0 AND state = s.state AND id > $1 ORDER BY id LIMIT $2)) AS j
         ORDER BY j.id LIMIT $2";
    EXPIRING(INT8) true =
        "SELECT id, expires_at FROM dauer.jobs WHERE stage & 1 <> 0 AND expires_at IS NOT NULL ORDER BY expires_at, id LIMIT $1";
    CHILDREN(TEXT, TEXT, INT8) true = "SELECT id FROM dauer.jobs WHERE parent = $1 AND id > $2 ORDER BY id LIMIT $3";
    OWNER(TEXT) true = "SELECT id FROM dauer.jobs WHERE sandbox = $1";
    CHECKPOINTS(TEXT) true = "SELECT record FROM dauer.checkpoints WHERE job = $1 ORDER BY seq";
    TOKEN(TEXT, TEXT) true = "SELECT generation, status, checkpoint, message FROM dauer.tokens WHERE job = $1 AND token = $2";
    OUTPUT(TEXT) true = "SELECT output FROM dauer.outputs WHERE job = $1";
    HAS_SIGNAL(TEXT, TEXT) true = "SELECT 1 FROM dauer.signals WHERE job = $1 AND id = $2";
    /// What this token took; what it had before a rollback gave it back; the oldest of the name.
    SIGNAL_FOR(TEXT, TEXT, TEXT) true =
        "(SELECT 0::bigint AS rank, id, name, payload, sent_at FROM dauer.signals
          WHERE job = $1 AND token = $3 AND standing <> 'waiting' ORDER BY seq LIMIT 1)
         UNION ALL
         (SELECT 1, id, name, payload, sent_at FROM dauer.signals
          WHERE job = $1 AND token = $3 AND name = $2 AND standing = 'waiting' ORDER BY seq LIMIT 1)
         UNION ALL
         (SELECT 2, id, name, payload, sent_at FROM dauer.signals WHERE job = $1 AND name = $2 AND standing = 'waiting'
          ORDER BY seq LIMIT 1)
         ORDER BY 1 LIMIT 1";
    SIGNALS_WAITING(TEXT) true = "SELECT count(*) FROM dauer.signals WHERE job = $1 AND standing = 'waiting'";
    WAIT(TEXT, TEXT) true = "SELECT give_up_at, timed_out FROM dauer.waits WHERE job = $1 AND token = $2";
    JOURNAL(INT8, INT8) true =
        "SELECT seq, job, at, event, from_state, to_state, operation, generation, detail, by, why FROM dauer.journal
         WHERE seq > $1 ORDER BY seq LIMIT $2";
    JOURNAL_OF_JOB(INT8, INT8, TEXT) true =
        "SELECT seq, job, at, event, from_state, to_state, operation, generation, detail, by, why FROM dauer.journal
         WHERE job = $3 AND seq > $1 ORDER BY seq LIMIT $2";

    INTERVALS(TEXT, TEXT) true =
        "SELECT owner_kind, owner, generation, kind, amount, from_at, to_at, used, cause, closed_by, labels FROM dauer.ledger
         WHERE owner_kind = $1 AND owner = $2 ORDER BY from_at, id";
    INTERVALS_WITHIN(INT8, INT8) true =
        "SELECT owner_kind, owner, generation, kind, amount, from_at, to_at, used, cause, closed_by, labels FROM dauer.ledger
         WHERE to_at > $1 AND from_at < $2
         UNION ALL
         SELECT owner_kind, owner, generation, kind, amount, from_at, to_at, used, cause, closed_by, labels FROM dauer.ledger
         WHERE to_at IS NULL AND from_at < $2";
    LEDGER_OLDEST() true = "SELECT to_at FROM dauer.ledger WHERE to_at IS NOT NULL ORDER BY to_at LIMIT 1";
    HEARTBEAT(TEXT) true = "SELECT at FROM dauer.heartbeat WHERE node = $1";
    ACCESS() true = "SELECT id, name, scope, digest, created_at, expires_at, last_used_at FROM dauer.access ORDER BY id";

    DEFINITION(TEXT, TEXT) true =
        "SELECT name, version, runtime_type, config, retry_policy, metadata, created_at FROM dauer.definitions
         WHERE name = $1 AND version = $2";
    DEFINITION_VERSIONS(TEXT) true = "SELECT version FROM dauer.definitions WHERE name = $1";
    DEFINITIONS(TEXT, TEXT, INT8) true =
        "SELECT name, version, runtime_type, config, retry_policy, metadata, created_at FROM dauer.definitions
         WHERE (name, version) > ($1, $2) ORDER BY name, version LIMIT $3";
    DEFINITIONS_NAMED(TEXT, TEXT, INT8) true =
        "SELECT name, version, runtime_type, config, retry_policy, metadata, created_at FROM dauer.definitions
         WHERE name = $1 AND version > $2 ORDER BY version LIMIT $3";

    SCHEDULE(TEXT) true = "SELECT record FROM dauer.schedules WHERE name = $1";
    SCHEDULES(TEXT, INT8) true = "SELECT record FROM dauer.schedules WHERE name > $1 ORDER BY name LIMIT $2";
    SCHEDULES_DUE(INT8, INT8) true =
        "SELECT record FROM dauer.schedules WHERE due_at IS NOT NULL AND due_at <= $1 ORDER BY due_at, name LIMIT $2";
    NEXT_SCHEDULE() true = "SELECT min(due_at) FROM dauer.schedules WHERE due_at IS NOT NULL";

    /// A piece of the journal and of the audit as one. `$4` is the only job, where one is asked for: of a job the audit says only that
    /// it was removed, after which nobody can ask for it.
    HISTORY(INT8, INT8, INT8) true =
        "(SELECT seq, 0::bigint AS audit, job, at, event, from_state, to_state, operation, generation, detail, by, why
          FROM dauer.journal WHERE seq > $1 ORDER BY seq LIMIT $3)
         UNION ALL
         (SELECT after, id, subject, at, event, NULL, NULL, NULL, NULL, detail, by, why
          FROM dauer.audit WHERE (after, id) > ($1, $2) ORDER BY after, id LIMIT $3)
         ORDER BY 1, 2 LIMIT $3";
    HISTORY_OF_JOB(INT8, INT8, TEXT) true =
        "SELECT seq, 0::bigint AS audit, job, at, event, from_state, to_state, operation, generation, detail, by, why
         FROM dauer.journal WHERE job = $3 AND seq > $1 ORDER BY seq LIMIT $2";
    JOURNAL_AT(INT8) true = "SELECT at FROM dauer.journal WHERE seq >= $1 ORDER BY seq LIMIT 1";
    JOURNAL_NEWEST() true = "SELECT seq FROM dauer.counter WHERE one = 1";
    OLDEST_RECORD() true =
        "SELECT min(at) FROM ((SELECT at FROM dauer.journal ORDER BY seq LIMIT 1)
             UNION ALL (SELECT at FROM dauer.audit ORDER BY id LIMIT 1)) AS first";

    /// For each lane in which somebody waits, the first of those who pass. What its queue holds back whole: `$5` begin, `$6` wake; what
    /// of it: `$8` its name, `$9` of those that wake, `$10` the key.
    DUE(INT8, INT8, INT8, INT8, TEXT_ARRAY, TEXT_ARRAY, BOOL, TEXT_ARRAY, BOOL_ARRAY, TEXT_ARRAY, TEXT) true =
        "WITH RECURSIVE lanes (queue, lane) AS (
             (SELECT queue, lane FROM dauer.jobs WHERE wake_at IS NOT NULL ORDER BY queue, lane LIMIT 1)
             UNION ALL
             SELECT n.queue, n.lane FROM lanes l CROSS JOIN LATERAL (
                 SELECT queue, lane FROM dauer.jobs WHERE wake_at IS NOT NULL AND (queue, lane) > (l.queue, l.lane)
                 ORDER BY queue, lane LIMIT 1) AS n)
         SELECT d.id, d.wake_at, d.concurrency_key, d.cpu_millis, d.memory_bytes, l.queue, l.lane
         FROM lanes l
         CROSS JOIN LATERAL (
             SELECT coalesce(array_agg(b.key), '{}') AS keys FROM unnest($8, $9, $10) AS b (queue, wakes, key)
             WHERE b.queue = l.queue AND b.wakes = (l.lane >= 4)) AS held
         CROSS JOIN LATERAL (
             SELECT id, wake_at, concurrency_key, cpu_millis, memory_bytes FROM dauer.jobs j
             WHERE j.queue = l.queue AND j.lane = l.lane AND j.wake_at IS NOT NULL AND j.wake_at <= $1
                 AND (j.concurrency_key IS NULL OR j.concurrency_key <> ALL (held.keys))
                 AND (j.cpu_millis IS NULL OR $3 IS NULL OR j.cpu_millis <= $3)
                 AND (j.memory_bytes IS NULL OR $4 IS NULL OR j.memory_bytes <= $4)
                 AND ($11 IS NULL OR j.promised_to IS NULL OR j.promised_to = $11 OR j.promised_until <= $1)
             ORDER BY j.wake_at, j.id LIMIT $2) AS d
         WHERE CASE WHEN l.lane >= 4 THEN l.queue <> ALL ($6) ELSE NOT $7 AND l.queue <> ALL ($5) END";
    NEXT_WAKE(INT8) true =
        "WITH RECURSIVE lanes (queue, lane) AS (
             (SELECT queue, lane FROM dauer.jobs WHERE wake_at IS NOT NULL ORDER BY queue, lane LIMIT 1)
             UNION ALL
             SELECT n.queue, n.lane FROM lanes l CROSS JOIN LATERAL (
                 SELECT queue, lane FROM dauer.jobs WHERE wake_at IS NOT NULL AND (queue, lane) > (l.queue, l.lane)
                 ORDER BY queue, lane LIMIT 1) AS n)
         SELECT min(w.wake_at) FROM lanes l CROSS JOIN LATERAL (
             SELECT wake_at FROM dauer.jobs j WHERE j.queue = l.queue AND j.lane = l.lane AND j.wake_at IS NOT NULL AND j.wake_at > $1
             ORDER BY j.wake_at LIMIT 1) AS w";
    WAITING(INT8) true =
        "SELECT queue, count(*) FILTER (WHERE wake_at <= $1), count(*) FILTER (WHERE wake_at > $1) FROM dauer.jobs
         WHERE wake_at IS NOT NULL AND lane < 4 GROUP BY queue ORDER BY queue";
    SLEEPERS(TEXT) true =
        "SELECT id, concurrency_key FROM dauer.jobs WHERE stage & 1 <> 0 AND state = 'suspended' AND queue = $1";
    HOLDERS(INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "SELECT DISTINCT ON (n.place) n.place, j.id FROM unnest($1, $2, $3) WITH ORDINALITY AS n (place, key, state, ord)
         JOIN dauer.jobs j ON j.unique_key = n.key AND j.state = n.state ORDER BY n.place, n.ord";
    FOLLOWERS(TEXT) true = "SELECT job FROM dauer.job_after WHERE after = $1 ORDER BY job";
    HAS_FOLLOWERS() true = "SELECT 1 FROM dauer.job_after LIMIT 1";
    ENDED_BEFORE_FOLLOWERS() true =
        "SELECT DISTINCT f.after FROM dauer.job_after f LEFT JOIN dauer.jobs j ON j.id = f.after
         WHERE j.id IS NULL OR j.state IN ('completed', 'failed', 'cancelled') ORDER BY 1";
    BATCH(TEXT) true = "SELECT state, count(*) FROM dauer.jobs WHERE batch = $1 GROUP BY state";
    BATCH_OPEN(TEXT) true =
        "SELECT 1 FROM dauer.jobs WHERE batch = $1 AND state IN ('pending', 'running', 'suspended', 'pending_retry') LIMIT 1";
    QUEUES() true = "SELECT settings FROM dauer.queues ORDER BY name";
    TURNS() true = "SELECT queue, key, at FROM dauer.turns ORDER BY queue, at";
    DAEMONS(TEXT, INT8) true =
        "SELECT started_at, completed, ended_well FROM dauer.daemons WHERE node IS NOT DISTINCT FROM $1 ORDER BY seq DESC LIMIT $2";

    LEASES() true = "SELECT node, epoch, lease_until, address FROM dauer.leases WHERE lease_until IS NOT NULL ORDER BY node";
    LEASE_EPOCH(TEXT) true = "SELECT epoch FROM dauer.leases WHERE node = $1";
    OTHER_LEASES(TEXT, INT8) true = "SELECT 1 FROM dauer.leases WHERE node <> $1 AND lease_until > $2 LIMIT 1";
    HOLDER(TEXT) true = "SELECT node FROM dauer.jobs WHERE id = $1 AND node IS NOT NULL";
    HELD() true = "SELECT node, count(*) FROM dauer.jobs WHERE stage & 2 <> 0 AND node IS NOT NULL GROUP BY node";

    // Why a write was refused.
    STORED(TEXT) true = "SELECT version, state, ends_children, node FROM dauer.jobs WHERE id = $1";
    OF_NAME(TEXT) true = "SELECT id FROM dauer.jobs WHERE name = $1";
    CHECKPOINT_OF(TEXT) true = "SELECT job FROM dauer.checkpoints WHERE id = $1";
    POINTS_TO(TEXT, TEXT, TEXT) true = "SELECT id, version FROM dauer.jobs WHERE id = $1 AND checkpoint IN ($2, $3)";
    SIGNAL_WAITS(TEXT, TEXT) true = "SELECT 1 FROM dauer.signals WHERE job = $1 AND id = $2 AND standing = 'waiting'";
    SCHEDULE_VERSION(TEXT) true = "SELECT version FROM dauer.schedules WHERE name = $1";
    HAS_QUEUE(TEXT) true = "SELECT 1 FROM dauer.queues WHERE name = $1";
    HAS_ACCESS(TEXT) true = "SELECT 1 FROM dauer.access WHERE id = $1";
}
