//! Every statement the store runs on its tables, in one list, so that one test can ask SQLite how it would run each of them.

macro_rules! statements {
    ($($name:ident = $sql:literal;)*) => {
        $(pub(super) const $name: &str = $sql;)*

        /// All of them by name.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($name), $sql)),*];
    };
}

statements! {
    // Writing.
    JOB_VERSION = "SELECT version FROM jobs WHERE id = ?1";
    JOB_OF_NAME = "SELECT id FROM jobs WHERE name = ?1";
    FOLLOWER_INSERT = "INSERT INTO job_after (after, job) VALUES (?1, ?2) ON CONFLICT DO NOTHING";
    FOLLOWER_DELETE = "DELETE FROM job_after WHERE after = ?2 AND job = ?1";
    TURN_INSERT = "INSERT INTO turns (queue, key, at) VALUES (?1, ?2, ?3)";
    TURNS_FORGET = "DELETE FROM turns WHERE queue = ?1 AND at < ?2";
    QUEUE_PUT = "INSERT INTO queues (name, settings) VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET settings = excluded.settings";
    QUEUE_DELETE = "DELETE FROM queues WHERE name = ?1";
    DAEMON_INSERT = "INSERT INTO daemons (started_at) VALUES (?1)";
    DAEMONS_FORGET = "DELETE FROM daemons WHERE seq <= ?1";
    DAEMON_COMPLETED = "UPDATE daemons SET completed = 1 WHERE seq = ?1";
    DAEMON_ENDED_WELL = "UPDATE daemons SET ended_well = 1 WHERE seq = ?1";
    TAG_INSERT = "INSERT INTO job_tags (key, value, job) VALUES (?1, ?2, ?3)";
    REQUEST_KEY_INSERT = "INSERT INTO request_keys (key, job, digest) VALUES (?1, ?2, ?3)";
    DEFINITION_INSERT = "INSERT INTO definitions (name, version, runtime_type, config, retry_policy, metadata, created_at)
                         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
    DEFINITION_DELETE = "DELETE FROM definitions WHERE name = ?1 AND version = ?2";
    JOB_UPDATE = "UPDATE jobs SET version = ?2, state = ?3, operation = ?4, wake_at = ?5, sandbox = ?6, checkpoint = ?7, record = ?8,
                      expires_at = ?9, ends_children = ?10, stage = ?11, lane = ?12, node = CASE WHEN ?11 & 2 THEN ?13 END
                  WHERE id = ?1";
    LEASE_TAKE = "INSERT INTO leases (node, epoch, until, address) VALUES (?1, 1, ?2, ?3)
                  ON CONFLICT (node) DO UPDATE SET epoch = epoch + 1, until = excluded.until, address = excluded.address
                  RETURNING num, epoch";
    LEASE_EPOCH = "SELECT epoch FROM leases WHERE num = ?1";
    LEASE_RENEW = "UPDATE leases SET until = ?2 WHERE num = ?1";
    LEASE_END = "UPDATE leases SET epoch = epoch + 1, until = NULL WHERE node = ?1 AND epoch = ?2 AND until <= ?3 RETURNING num";
    JOBS_TAKE_OVER = "UPDATE jobs INDEXED BY jobs_unsettled SET node = ?2 WHERE stage & 2 AND id > '' AND node = ?1";
    JOB_VERSION_AND_HOLDER = "SELECT version, node FROM jobs WHERE id = ?1";
    JOB_VERSION_AND_STATE = "SELECT version, state, node FROM jobs WHERE id = ?1";
    JOB_DELETE = "DELETE FROM jobs WHERE id = ?1";
    CHECKPOINT_PUT = "INSERT INTO checkpoints (id, job, record, folder) VALUES (?1, ?2, ?3, ?4)
                      ON CONFLICT (id) DO UPDATE SET record = excluded.record WHERE job = excluded.job";
    CHECKPOINT_POINTED_TO = "SELECT id, version FROM jobs WHERE id = ?1 AND checkpoint IN (?2, ?3)";
    CHECKPOINT_DELETE = "DELETE FROM checkpoints WHERE id IN (?2, ?3) AND job = ?1";
    SNAPSHOT_INSERT = "INSERT INTO snapshots (id, version, name, record) VALUES (?1, ?2, ?3, ?4)";
    SNAPSHOT_UPDATE = "UPDATE snapshots SET version = ?2, name = ?3, record = ?4 WHERE id = ?1";
    SNAPSHOT_DELETE = "DELETE FROM snapshots WHERE id = ?1";
    CACHE_INSERT = "INSERT INTO cache (key, snapshot, exit_code, created_at, last_used_at, hits, bytes, pinned, state)
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO NOTHING";
    CACHE_EVICT = "UPDATE cache SET state = 'evicting' WHERE key = ?1 AND state = 'ready' AND pinned = 0";
    CACHE_MARK = "UPDATE cache SET state = 'evicting' WHERE key = ?1";
    CACHE_HIT = "UPDATE cache SET hits = hits + 1, last_used_at = max(last_used_at, ?2) WHERE key = ?1 AND state = 'ready'";
    CACHE_PIN = "UPDATE cache SET pinned = ?2 WHERE key = ?1 AND state = 'ready'";
    CACHE_DELETE = "DELETE FROM cache WHERE key = ?1 AND state = 'evicting'";
    TOKEN_PUT = "INSERT INTO tokens (job, token, generation, status, checkpoint, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (job, token) DO UPDATE SET generation = excluded.generation, status = excluded.status,
                     checkpoint = excluded.checkpoint, message = excluded.message";
    OUTPUT_PUT = "INSERT INTO outputs (job, output) VALUES (?1, ?2) ON CONFLICT (job) DO UPDATE SET output = excluded.output";
    SIGNAL_INSERT = "INSERT INTO signals (job, id, name, payload, sent_at, standing) VALUES (?1, ?2, ?3, ?4, ?5, 'waiting')
                     ON CONFLICT (job, id) DO NOTHING";
    SIGNAL_TAKE = "UPDATE signals SET standing = 'taken', token = ?3 WHERE job = ?1 AND id = ?2 AND standing = 'waiting'";
    SIGNALS_SEAL = "UPDATE signals SET standing = 'sealed' WHERE job = ?1 AND standing = 'taken'";
    SIGNALS_FREE = "UPDATE signals SET standing = 'waiting' WHERE job = ?1 AND standing = 'taken'";
    SIGNALS_FREE_ALL = "UPDATE signals SET standing = 'waiting', token = NULL WHERE job = ?1 AND token IS NOT NULL";
    OUTPUT_DELETE = "DELETE FROM outputs WHERE job = ?1";
    WAITS_DELETE = "DELETE FROM waits WHERE job = ?1";
    SCHEDULE_INSERT = "INSERT INTO schedules (name, version, due_at, record) VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    SCHEDULE_UPDATE = "UPDATE schedules SET version = ?2, due_at = ?3, record = ?4 WHERE name = ?1";
    SCHEDULE_DELETE = "DELETE FROM schedules WHERE name = ?1";
    AUDIT_INSERT = "INSERT INTO audit (after, at, event, subject, detail, by, why) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    JOURNAL_FORGET = "DELETE FROM journal WHERE seq < ?1 AND at < ?2";
    AUDIT_FORGET = "DELETE FROM audit WHERE id < ?1 AND at < ?2";
    WAIT_PUT = "INSERT INTO waits (job, token, give_up_at, timed_out) VALUES (?1, ?2, ?3, ?4)
                ON CONFLICT (job, token) DO UPDATE SET give_up_at = excluded.give_up_at, timed_out = excluded.timed_out";
    TOKENS_FORGET_REQUESTED = "DELETE FROM tokens WHERE job = ?1 AND status = 'requested'";

    TOKENS_FORGET = "DELETE FROM tokens WHERE job = ?1";

    ACCESS_INSERT = "INSERT INTO access (id, name, scope, digest, created_at, expires_at, last_used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
    ACCESS_USED = "UPDATE access SET last_used_at = ?2 WHERE id = ?1";
    ACCESS_DELETE = "DELETE FROM access WHERE id = ?1";

    JOB_DESCRIBE = "UPDATE jobs SET spec = json_set(spec, '$.tags', json(?2), '$.metadata', json(?3)) WHERE id = ?1";
    TAGS_DELETE = "DELETE FROM job_tags WHERE job = ?1";
    LEDGER_OPEN = "INSERT INTO ledger (owner_kind, owner, generation, kind, amount, from_at, cause, labels)
                   VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (owner_kind, owner, kind) WHERE to_at IS NULL DO NOTHING";
    LEDGER_CLOSE = "UPDATE ledger SET to_at = max(from_at, ?4), used = ?5, closed_by = ?6
                    WHERE owner_kind = ?1 AND owner = ?2 AND kind = ?3 AND to_at IS NULL";
    LEDGER_SPLIT = "INSERT INTO ledger (owner_kind, owner, generation, kind, amount, from_at, to_at, cause, closed_by, labels)
                    SELECT owner_kind, owner, generation, kind, amount, from_at, max(from_at, ?3), cause, 'relabelled', labels
                    FROM ledger WHERE owner_kind = ?1 AND owner = ?2 AND to_at IS NULL";
    LEDGER_RELABEL = "UPDATE ledger SET from_at = max(from_at, ?3), cause = 'relabelled', labels = ?4
                      WHERE owner_kind = ?1 AND owner = ?2 AND to_at IS NULL";
    LEDGER_PRUNE = "DELETE FROM ledger WHERE to_at < ?1";
    HEARTBEAT_PUT = "INSERT INTO heartbeat (one, at) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET at = excluded.at";

    // Moving.
    JOB_POINT = "UPDATE jobs SET checkpoint = ?2, ends_children = ?3 WHERE id = ?1";
    CHECKPOINT_IMPORT = "INSERT INTO checkpoints (seq, id, job, record, folder) VALUES (?1, ?2, ?3, ?4, ?5)";
    SNAPSHOT_IMPORT = "INSERT INTO snapshots (id, version, name, record) VALUES (?1, ?2, ?3, ?4) ON CONFLICT (id) DO NOTHING";
    SIGNAL_IMPORT = "INSERT INTO signals (seq, job, id, name, payload, sent_at, standing, token) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)";
    JOURNAL_IMPORT = "INSERT INTO journal (seq, job, at, event, from_state, to_state, operation, generation, detail, by, why)
                      VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) ON CONFLICT (seq) DO NOTHING";
    AUDIT_IMPORT = "INSERT INTO audit (id, after, at, event, subject, detail, by, why) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                    ON CONFLICT (id) DO NOTHING";
    LEDGER_IMPORT = "INSERT INTO ledger (owner_kind, owner, generation, kind, amount, from_at, to_at, used, cause, closed_by, labels, id)
                     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12) ON CONFLICT (id) DO NOTHING";
    ACCESS_IMPORT = "INSERT INTO access (id, name, scope, digest, created_at, expires_at, last_used_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                     ON CONFLICT (id) DO NOTHING";
    DAEMON_IMPORT = "INSERT INTO daemons (started_at, completed, ended_well) VALUES (?1, ?2, ?3)";
    HEARTBEAT_DELETE = "DELETE FROM heartbeat WHERE one = 1";
    MARK_PUT = "INSERT INTO moving (one, mark) VALUES (1, ?1) ON CONFLICT (one) DO UPDATE SET mark = excluded.mark";
    MARK = "SELECT mark FROM moving WHERE one = 1";
    EXPORT_JOBS = "SELECT id, record, spec, params FROM jobs WHERE id > ?1 ORDER BY id LIMIT ?2";
    EXPORT_KEYS = "SELECT job, key, digest FROM request_keys WHERE job BETWEEN ?1 AND ?2 ORDER BY job";
    EXPORT_CHECKPOINTS = "SELECT job, seq, record FROM checkpoints WHERE job BETWEEN ?1 AND ?2 ORDER BY job, seq";
    EXPORT_TOKENS = "SELECT generation, status, checkpoint, message, job, token FROM tokens WHERE job BETWEEN ?1 AND ?2 ORDER BY job, token";
    EXPORT_OUTPUTS = "SELECT job, output FROM outputs WHERE job BETWEEN ?1 AND ?2 ORDER BY job";
    EXPORT_SIGNALS = "SELECT job, seq, id, name, payload, sent_at, standing, token FROM signals WHERE job BETWEEN ?1 AND ?2 ORDER BY job";
    EXPORT_WAITS = "SELECT job, token, give_up_at, timed_out FROM waits WHERE job BETWEEN ?1 AND ?2 ORDER BY job, token";
    EXPORT_AUDIT = "SELECT id, after, at, event, subject, detail, by, why FROM audit WHERE id > ?1 ORDER BY id LIMIT ?2";
    EXPORT_LEDGER = "SELECT owner_kind, owner, generation, kind, amount, from_at, to_at, used, cause, closed_by, labels, id FROM ledger
                     WHERE id > ?1 ORDER BY id LIMIT ?2";
    CHECK_JOBS = "SELECT id, record, spec, params, version, name, state, operation, wake_at, sandbox, checkpoint, created_at, priority,
                      expires_at, parent, ends_children, stage, queue, concurrency_key, unique_key, batch, lane, cpu_millis, memory_bytes
                  FROM jobs WHERE id > '' ORDER BY id";
    CHECK_TAGS = "SELECT key, value FROM job_tags WHERE job = ?1 ORDER BY key";
    CHECK_AFTER = "SELECT after FROM job_after WHERE job = ?1 ORDER BY after";
    CHECK_SCHEDULES = "SELECT name, version, due_at, record FROM schedules WHERE name > '' ORDER BY name";
    CHECK_QUEUES = "SELECT name, settings FROM queues WHERE name > '' ORDER BY name";
    CHECK_NUMBERS = "SELECT seq FROM sqlite_sequence WHERE name = ?1";
    CHECKPOINTS_NEWEST = "SELECT seq FROM checkpoints WHERE seq > 0 ORDER BY seq DESC LIMIT 1";
    SIGNALS_NEWEST = "SELECT seq FROM signals WHERE seq > 0 ORDER BY seq DESC LIMIT 1";
    AUDIT_NEWEST_ID = "SELECT id FROM audit WHERE id > 0 ORDER BY id DESC LIMIT 1";
    COUNT_DEFINITIONS = "SELECT count(*) FROM definitions WHERE name > ''";
    COUNT_JOBS = "SELECT count(*) FROM jobs WHERE id > ''";
    COUNT_JOURNAL = "SELECT count(*) FROM journal WHERE job > ''";
    COUNT_AUDIT = "SELECT count(*) FROM audit WHERE after >= 0";
    COUNT_LEDGER = "SELECT count(*) FROM ledger WHERE owner_kind > ''";
    COUNT_SNAPSHOTS = "SELECT count(*) FROM snapshots WHERE id > ''";
    COUNT_CACHE = "SELECT count(*) FROM cache WHERE key > ''";
    CHECK_SNAPSHOTS = "SELECT id, version, name, record FROM snapshots WHERE id > '' ORDER BY id";
    COUNT_SCHEDULES = "SELECT count(*) FROM schedules WHERE name > ''";

    // Reading.
    LEDGER_OF_OWNER = "SELECT owner_kind, owner, generation, kind, amount, from_at, to_at, used, cause, closed_by, labels FROM ledger
                       WHERE owner_kind = ?1 AND owner = ?2 ORDER BY from_at";
    USAGE_OF_OWNER = "SELECT owner, kind, amount, from_at, to_at, used, labels FROM ledger WHERE owner_kind = ?1 AND owner = ?2";
    USAGE_ALL = "SELECT owner, kind, amount, from_at, to_at, used, labels FROM ledger WHERE id > ?1 AND from_at < ?2";
    USAGE_CLOSED = "SELECT owner, kind, amount, from_at, to_at, used, labels FROM ledger WHERE to_at > ?1 AND from_at < ?2";
    USAGE_OPEN = "SELECT owner, kind, amount, from_at, to_at, used, labels
                  FROM ledger INDEXED BY ledger_to WHERE to_at IS NULL AND from_at < ?1";
    LEDGER_NTH = "SELECT to_at FROM ledger WHERE to_at < ?1 ORDER BY to_at LIMIT 1 OFFSET ?2";
    LEDGER_OLDEST = "SELECT to_at FROM ledger WHERE to_at > 0 ORDER BY to_at LIMIT 1";
    HEARTBEAT = "SELECT at FROM heartbeat WHERE one = 1";
    ACCESS_ALL = "SELECT id, name, scope, digest, created_at, expires_at, last_used_at FROM access WHERE id > '' ORDER BY id";
    JOB = "SELECT record, spec, params FROM jobs WHERE id = ?1";
    REQUEST_KEY = "SELECT job, digest FROM request_keys WHERE key = ?1";
    DEFINITION = "SELECT name, version, runtime_type, config, retry_policy, metadata, created_at FROM definitions
                  WHERE name = ?1 AND version = ?2";
    DEFINITION_VERSIONS = "SELECT version FROM definitions WHERE name = ?1";
    DEFINITIONS = "SELECT name, version, runtime_type, config, retry_policy, metadata, created_at FROM definitions
                   WHERE (name, version) > (?1, ?2) ORDER BY name, version LIMIT ?3";
    DEFINITIONS_NAMED = "SELECT name, version, runtime_type, config, retry_policy, metadata, created_at FROM definitions
                         WHERE name = ?1 AND version > ?2 ORDER BY version LIMIT ?3";
    ID_EXACT = "SELECT id FROM jobs WHERE id = ?1";
    IDS_BETWEEN = "SELECT id FROM jobs WHERE id >= ?1 AND id < ?2 LIMIT 2";
    JOBS_NEWEST = "SELECT id, record, spec FROM jobs WHERE id < ?1 ORDER BY id DESC LIMIT ?2";
    JOBS_NEWEST_ENDED = "SELECT id, record, spec FROM jobs WHERE stage = 0 AND state = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2";
    JOBS_NEWEST_WAITING = "SELECT id, record, spec FROM jobs WHERE stage & 1 AND state = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2";
    JOBS_NEWEST_UNSETTLED = "SELECT id, record, spec FROM jobs INDEXED BY jobs_unsettled
                             WHERE stage & 2 AND state = ?3 AND id < ?1 ORDER BY id DESC LIMIT ?2";
    JOBS_OLDEST_IN_STATE = "SELECT id, record, spec FROM jobs WHERE state = ?3 AND id > ?1 ORDER BY id LIMIT ?2";
    JOB_NAMED = "SELECT id, record, spec FROM jobs WHERE id < ?1 AND name = ?2";
    JOBS_NEWEST_TAGGED = "SELECT id, record, spec FROM job_tags JOIN jobs ON id = job
                          WHERE key = ?2 AND value = ?3 AND job < ?1 ORDER BY job DESC";
    // `stage` is what the partial indexes go by, as bits: 1 waits, 2 unsettled; none of them: ended. Where an index is named, the
    // condition is that of the index, word for word: only then SQLite may use it.
    JOBS_UNSETTLED = "SELECT id, record, spec FROM jobs INDEXED BY jobs_unsettled
                      WHERE stage & 2 AND (node IS NULL OR node = ?1) ORDER BY id";
    JOBS_HELD = "SELECT id FROM jobs INDEXED BY jobs_unsettled WHERE stage & 2 AND id > '' AND node = ?1 ORDER BY id";
    LEASES = "SELECT node, epoch, until, address FROM leases WHERE node > '' AND until IS NOT NULL ORDER BY node";
    HOLDER = "SELECT leases.node FROM jobs JOIN leases ON num = jobs.node WHERE id = ?1";
    HELD = "SELECT leases.node FROM jobs INDEXED BY jobs_unsettled JOIN leases ON num = jobs.node WHERE stage & 2 AND id > ''";
    JOBS_EXPIRING = "SELECT id, expires_at FROM jobs INDEXED BY jobs_expiring
                     WHERE stage & 1 AND expires_at IS NOT NULL ORDER BY expires_at, id LIMIT ?1";
    JOB_CHILDREN = "SELECT id FROM jobs WHERE parent = ?1 AND id > ?2 ORDER BY id LIMIT ?3";
    JOB_ENDS_CHILDREN = "SELECT ends_children FROM jobs WHERE id = ?1";
    LANE_AFTER = "SELECT queue, lane FROM jobs INDEXED BY jobs_due
                  WHERE wake_at IS NOT NULL AND (queue, lane) > (?1, ?2) ORDER BY queue, lane LIMIT 1";
    NEXT_WAKE = "SELECT wake_at FROM jobs INDEXED BY jobs_due WHERE queue = ?1 AND lane = ?2 AND wake_at > ?3 ORDER BY wake_at LIMIT 1";
    JOBS_DUE = "SELECT id, wake_at, concurrency_key, cpu_millis, memory_bytes FROM jobs INDEXED BY jobs_due
                WHERE queue = ?1 AND lane = ?2 AND wake_at <= ?3 ORDER BY wake_at, id";
    JOBS_WAITING = "SELECT queue, sum(wake_at <= ?1), sum(wake_at > ?1) FROM jobs INDEXED BY jobs_due
                    WHERE wake_at IS NOT NULL AND lane < 4 GROUP BY queue";
    JOBS_ASLEEP = "SELECT id, concurrency_key FROM jobs WHERE stage & 1 AND state = 'suspended' AND queue = ?1";
    UNIQUE_HOLDER = "SELECT id FROM jobs WHERE unique_key = ?1 AND state = ?2 LIMIT 1";
    FOLLOWERS = "SELECT job FROM job_after WHERE after = ?1 ORDER BY job";
    ENDED_BEFORE_FOLLOWERS = "SELECT DISTINCT after FROM job_after LEFT JOIN jobs ON id = after
                              WHERE after > '' AND (id IS NULL OR state IN ('completed', 'failed', 'cancelled'))";
    BATCH = "SELECT state, count(*) FROM jobs WHERE batch = ?1 GROUP BY state";
    BATCH_OPEN = "SELECT 1 FROM jobs WHERE batch = ?1 AND state IN ('pending', 'running', 'suspended', 'pending_retry') LIMIT 1";
    JOBS_NEWEST_IN_BATCH = "SELECT id, record, spec FROM jobs WHERE batch = ?2 AND state = ?3 AND id < ?1 ORDER BY id DESC";
    FOLLOWERS_EXIST = "SELECT 1 FROM job_after WHERE after > '' LIMIT 1";
    QUEUES = "SELECT settings FROM queues WHERE name > '' ORDER BY name";
    TURNS = "SELECT queue, key, at FROM turns WHERE queue > '' ORDER BY queue, at";
    DAEMON_NEWEST = "SELECT seq FROM daemons WHERE seq > 0 ORDER BY seq DESC LIMIT 1";
    DAEMONS = "SELECT started_at, completed, ended_well FROM daemons WHERE seq > 0 ORDER BY seq DESC LIMIT ?1";
    OWNER = "SELECT id FROM jobs WHERE sandbox = ?1";
    CHECKPOINTS = "SELECT record FROM checkpoints WHERE job = ?1 ORDER BY seq";
    REFERENCED = "SELECT 1 FROM checkpoints WHERE id = ?1 UNION ALL SELECT 1 FROM checkpoints WHERE folder = ?1
                  UNION ALL SELECT 1 FROM snapshots WHERE id = ?1 LIMIT 1";
    SNAPSHOT = "SELECT record FROM snapshots WHERE id = ?1";
    SNAPSHOT_NAMED = "SELECT record FROM snapshots WHERE name = ?1";
    SNAPSHOTS_BETWEEN = "SELECT record FROM snapshots WHERE id >= ?1 AND id < ?2 LIMIT 2";
    SNAPSHOTS = "SELECT record FROM snapshots WHERE id > ?1 ORDER BY id LIMIT ?2";
    SNAPSHOT_VERSION = "SELECT version FROM snapshots WHERE id = ?1";
    SNAPSHOT_OF_NAME = "SELECT id FROM snapshots WHERE name = ?1";
    SNAPSHOT_CACHED = "SELECT key FROM cache WHERE snapshot = ?1 AND state = 'ready' LIMIT 1";
    CACHE_ENTRY = "SELECT key, snapshot, exit_code, created_at, last_used_at, hits, bytes, pinned, state FROM cache WHERE key = ?1";
    CACHE_ENTRIES = "SELECT key, snapshot, exit_code, created_at, last_used_at, hits, bytes, pinned, state FROM cache
                     WHERE key > ?1 ORDER BY key LIMIT ?2";
    CACHE_LEAST_USED = "SELECT key, snapshot, exit_code, created_at, last_used_at, hits, bytes, pinned, state
                        FROM cache INDEXED BY cache_least_used WHERE state = 'ready' AND pinned = 0 AND last_used_at > ?1
                        ORDER BY last_used_at, key LIMIT ?2";
    CACHE_TOTALS = "SELECT count(*), coalesce(sum(bytes), 0) FROM cache WHERE key > '' AND state = 'ready'";
    TOKEN = "SELECT generation, status, checkpoint, message FROM tokens WHERE job = ?1 AND token = ?2";
    OUTPUT = "SELECT output FROM outputs WHERE job = ?1";
    SIGNAL_EXISTS = "SELECT 1 FROM signals WHERE job = ?1 AND id = ?2";
    SIGNAL_TAKEN_BY = "SELECT id, name, payload, sent_at FROM signals
                       WHERE job = ?1 AND token = ?2 AND standing <> 'waiting' ORDER BY seq LIMIT 1";
    SIGNAL_HAD_BY = "SELECT id, name, payload, sent_at FROM signals INDEXED BY signals_token
                     WHERE job = ?1 AND token = ?2 AND name = ?3 AND standing = 'waiting' ORDER BY seq LIMIT 1";
    SIGNAL_OLDEST = "SELECT id, name, payload, sent_at FROM signals WHERE job = ?1 AND name = ?2 AND standing = 'waiting'
                     ORDER BY seq LIMIT 1";
    SIGNALS_WAITING = "SELECT count(*) FROM signals WHERE job = ?1 AND standing = 'waiting'";
    WAIT = "SELECT give_up_at, timed_out FROM waits WHERE job = ?1 AND token = ?2";
    JOURNAL = "SELECT seq, job, at, event, from_state, to_state, operation, generation, detail, by, why FROM journal
               WHERE seq > ?1 ORDER BY seq LIMIT ?2";
    JOURNAL_OF_JOB = "SELECT seq, job, at, event, from_state, to_state, operation, generation, detail, by, why FROM journal
                      WHERE job = ?3 AND seq > ?1 ORDER BY seq LIMIT ?2";
    SCHEDULE_VERSION = "SELECT version FROM schedules WHERE name = ?1";
    SCHEDULE = "SELECT record FROM schedules WHERE name = ?1";
    SCHEDULES = "SELECT record FROM schedules WHERE name > ?1 ORDER BY name LIMIT ?2";
    SCHEDULES_DUE = "SELECT record FROM schedules INDEXED BY schedules_due WHERE due_at IS NOT NULL AND due_at <= ?1
                     ORDER BY due_at, name LIMIT ?2";
    SCHEDULE_NEXT = "SELECT due_at FROM schedules INDEXED BY schedules_due WHERE due_at IS NOT NULL AND due_at >= 0
                     ORDER BY due_at LIMIT 1";
    AUDIT = "SELECT after, id, at, event, subject, detail, by, why FROM audit
             WHERE (after, id) > (?1, ?2) ORDER BY after, id LIMIT ?3";
    JOURNAL_AT = "SELECT at FROM journal WHERE seq >= ?1 ORDER BY seq LIMIT 1";
    JOURNAL_NEWEST = "SELECT seq FROM journal WHERE seq > 0 ORDER BY seq DESC LIMIT 1";
    AUDIT_NEWEST = "SELECT after FROM audit WHERE id > 0 ORDER BY id DESC LIMIT 1";
    JOURNAL_FIRST = "SELECT seq, at FROM journal WHERE seq > 0 ORDER BY seq LIMIT 1";
    AUDIT_FIRST = "SELECT id, at FROM audit WHERE id > 0 ORDER BY id LIMIT 1";
}
