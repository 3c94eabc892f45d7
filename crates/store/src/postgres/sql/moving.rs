//! The statements that move: what is taken in keeps its numbers, and those that are given out from then on are above them.

use super::statements;

statements! {
    THERE(TEXT_ARRAY) true = "SELECT id FROM dauer.jobs WHERE id = ANY ($1)";
    POINT_JOBS(TEXT_ARRAY, TEXT_ARRAY) false =
        "UPDATE dauer.jobs j SET checkpoint = n.checkpoint FROM unnest($1, $2) AS n (id, checkpoint) WHERE j.id = n.id";
    IMPORT_CHECKPOINTS(INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.checkpoints (seq, id, job, record, folder) SELECT * FROM unnest($1, $2, $3, $4, $5)";
    IMPORT_SIGNALS(INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.signals (seq, job, id, name, payload, sent_at, standing, token)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8)";
    IMPORT_TOKENS(TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.tokens (job, token, generation, status, checkpoint, message) SELECT * FROM unnest($1, $2, $3, $4, $5, $6)";
    IMPORT_WAITS(TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, BOOL_ARRAY) true =
        "INSERT INTO dauer.waits (job, token, give_up_at, timed_out) SELECT * FROM unnest($1, $2, $3, $4)";
    IMPORT_JOURNAL(INT8_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY,
                   TEXT_ARRAY, TEXT_ARRAY) true =
        "WITH numbers AS (UPDATE dauer.counter SET seq = greatest(seq, (SELECT max(s) FROM unnest($1) AS s)) WHERE one = 1)
         INSERT INTO dauer.journal (seq, job, at, event, from_state, to_state, operation, generation, detail, by, why)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) ON CONFLICT (seq) DO NOTHING";
    IMPORT_AUDIT(INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "WITH numbers AS (UPDATE dauer.counter SET seq = greatest(seq, (SELECT max(s) FROM unnest($2) AS s)) WHERE one = 1)
         INSERT INTO dauer.audit (id, after, at, event, subject, detail, by, why)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO NOTHING";
    IMPORT_LEDGER(INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY,
                  TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.ledger (id, owner_kind, owner, generation, kind, amount, from_at, to_at, used, cause, closed_by, labels)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT (id) DO NOTHING";
    /// Behind what was taken in. A number that was given out by a transaction that came to nothing is not missed.
    RAISE_NUMBERS(INT8_ARRAY) true =
        "SELECT setval(pg_get_serial_sequence('dauer.checkpoints', 'seq'), greatest(1, (SELECT max(seq) FROM dauer.checkpoints))),
             setval(pg_get_serial_sequence('dauer.signals', 'seq'), greatest(1, (SELECT max(seq) FROM dauer.signals))),
             setval(pg_get_serial_sequence('dauer.audit', 'id'), greatest(1, (SELECT max(id) FROM dauer.audit))),
             setval(pg_get_serial_sequence('dauer.ledger', 'id'), greatest(1, (SELECT max(id) FROM dauer.ledger)))
         WHERE cardinality($1) > 0";
    IMPORT_DEFINITIONS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY) true =
        "INSERT INTO dauer.definitions (name, version, runtime_type, config, retry_policy, metadata, created_at)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    IMPORT_SCHEDULES(TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.schedules (name, version, due_at, record) SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT DO NOTHING";
    IMPORT_ACCESS(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY) true =
        "INSERT INTO dauer.access (id, name, scope, digest, created_at, expires_at, last_used_at)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    FORGET_ALL_TURNS(TEXT_ARRAY) true = "DELETE FROM dauer.turns WHERE queue = ANY ($1)";
    FORGET_DAEMONS(TEXT_ARRAY) false = "DELETE FROM dauer.daemons WHERE node IS NOT DISTINCT FROM $1[1]";
    IMPORT_DAEMONS(TEXT_ARRAY, INT8_ARRAY, BOOL_ARRAY, BOOL_ARRAY) true =
        "INSERT INTO dauer.daemons (node, started_at, completed, ended_well)
         SELECT n.node, n.started_at, n.completed, n.ended_well
         FROM unnest($1, $2, $3, $4) WITH ORDINALITY AS n (node, started_at, completed, ended_well, ord) ORDER BY n.ord";
    FORGET_HEARTBEAT(TEXT_ARRAY) false = "DELETE FROM dauer.heartbeat WHERE node = ANY ($1)";
    PUT_MARK(INT8_ARRAY, TEXT_ARRAY) false =
        "INSERT INTO dauer.moving (one, mark) SELECT * FROM unnest($1, $2) ON CONFLICT (one) DO UPDATE SET mark = excluded.mark";

    MARK() true = "SELECT mark FROM dauer.moving WHERE one = 1";
    /// The jobs and what belongs to each, in one statement: a page is of one moment.
    EXPORT_JOBS(TEXT, INT8) true =
        "SELECT j.id, j.record, j.spec, j.params, k.key, k.digest, o.output,
             (SELECT json_agg(json_build_array(c.seq, c.record) ORDER BY c.seq)::text FROM dauer.checkpoints c WHERE c.job = j.id),
             (SELECT json_agg(json_build_array(t.token, t.generation, t.status, t.checkpoint, t.message) ORDER BY t.token)::text
              FROM dauer.tokens t WHERE t.job = j.id),
             (SELECT json_agg(json_build_array(s.seq, s.id, s.name, s.payload, s.sent_at, s.standing, s.token) ORDER BY s.seq)::text
              FROM dauer.signals s WHERE s.job = j.id),
             (SELECT json_agg(json_build_array(w.token, w.give_up_at, w.timed_out) ORDER BY w.token)::text
              FROM dauer.waits w WHERE w.job = j.id)
         FROM dauer.jobs j LEFT JOIN dauer.request_keys k ON k.job = j.id LEFT JOIN dauer.outputs o ON o.job = j.id
         WHERE j.id > $1 ORDER BY j.id LIMIT $2";
    EXPORT_AUDIT(INT8, INT8) true =
        "SELECT id, after, at, event, subject, detail, by, why FROM dauer.audit WHERE id > $1 ORDER BY id LIMIT $2";
    EXPORT_LEDGER(INT8, INT8) true =
        "SELECT owner_kind, owner, generation, kind, amount, from_at, to_at, used, cause, closed_by, labels, id FROM dauer.ledger
         WHERE id > $1 ORDER BY id LIMIT $2";
    COUNT_DEFINITIONS() true = "SELECT count(*) FROM dauer.definitions";
    COUNT_JOBS() true = "SELECT count(*) FROM dauer.jobs";
    COUNT_JOURNAL() true = "SELECT count(*) FROM dauer.journal";
    COUNT_AUDIT() true = "SELECT count(*) FROM dauer.audit";
    COUNT_LEDGER() true = "SELECT count(*) FROM dauer.ledger";
    COUNT_SCHEDULES() true = "SELECT count(*) FROM dauer.schedules";

    /// What is searched by, in the order of `check::columns`, the tags, and for whom it waits.
    CHECK_JOBS(TEXT, INT8) true =
        "SELECT id, record, spec, params, version, name, state, operation, wake_at, sandbox, checkpoint, created_at, priority, expires_at,
             parent, ends_children, stage, queue, concurrency_key, unique_key, batch, lane, cpu_millis, memory_bytes,
             (SELECT coalesce(json_agg(json_build_array(key, value) ORDER BY key), '[]')::text FROM dauer.job_tags t WHERE t.job = j.id),
             ARRAY(SELECT after FROM dauer.job_after a WHERE a.job = j.id ORDER BY after)
         FROM dauer.jobs j WHERE id > $1 ORDER BY id LIMIT $2";
    CHECK_SCHEDULES() true = "SELECT name, version, due_at, record FROM dauer.schedules ORDER BY name";
    CHECK_QUEUES() true = "SELECT name, settings FROM dauer.queues ORDER BY name";
    /// What belongs to a job that is not there.
    CHECK_ORPHANS() true =
        "SELECT b.t FROM (
             SELECT 'checkpoints' AS t, job FROM dauer.checkpoints UNION SELECT 'tokens', job FROM dauer.tokens
             UNION SELECT 'journal', job FROM dauer.journal UNION SELECT 'job_tags', job FROM dauer.job_tags
             UNION SELECT 'request_keys', job FROM dauer.request_keys UNION SELECT 'outputs', job FROM dauer.outputs
             UNION SELECT 'signals', job FROM dauer.signals UNION SELECT 'waits', job FROM dauer.waits
             UNION SELECT 'job_after', job FROM dauer.job_after) AS b
         WHERE NOT EXISTS (SELECT 1 FROM dauer.jobs j WHERE j.id = b.job) GROUP BY b.t ORDER BY b.t";
    CHECK_NUMBERS() true =
        "SELECT 'journal', (SELECT max(seq) FROM dauer.journal), (SELECT seq FROM dauer.counter WHERE one = 1)
         UNION ALL SELECT 'audit', (SELECT max(id) FROM dauer.audit),
             pg_sequence_last_value(pg_get_serial_sequence('dauer.audit', 'id')::regclass)
         UNION ALL SELECT 'checkpoints', (SELECT max(seq) FROM dauer.checkpoints),
             pg_sequence_last_value(pg_get_serial_sequence('dauer.checkpoints', 'seq')::regclass)
         UNION ALL SELECT 'signals', (SELECT max(seq) FROM dauer.signals),
             pg_sequence_last_value(pg_get_serial_sequence('dauer.signals', 'seq')::regclass)";
}
