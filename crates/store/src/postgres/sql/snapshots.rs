//! The statements about snapshots, the cache, and who refers to a folder. Those that write are as in `write`.

use super::statements;

statements! {
    /// Something keeps each of these folders, and keeps it until this is committed.
    CHECK_REFERENCED(TEXT_ARRAY) true =
        "WITH taken AS (SELECT coalesce(folder, id) AS folder FROM dauer.checkpoints WHERE id = ANY ($1) OR folder = ANY ($1) FOR KEY SHARE),
             kept AS (SELECT id AS folder FROM dauer.snapshots WHERE id = ANY ($1) FOR KEY SHARE)
         SELECT 1 / (count(*) = (SELECT count(DISTINCT f) FROM unnest($1) AS f))::int
         FROM (SELECT folder FROM taken UNION SELECT folder FROM kept) AS there";
    /// The rows of jobs that share a folder.
    INSERT_SHARES(TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY, TEXT_ARRAY) false =
        "INSERT INTO dauer.checkpoints (id, folder, job, record) SELECT * FROM unnest($1, $2, $3, $4)";

    INSERT_SNAPSHOTS(TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY) false =
        "INSERT INTO dauer.snapshots (id, version, name, record) SELECT * FROM unnest($1, $2, $3, $4)";
    /// Over the version before.
    UPDATE_SNAPSHOTS(TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY) false =
        "WITH changed AS (
             UPDATE dauer.snapshots s SET version = n.version, name = n.name, record = n.record
             FROM unnest($1, $2, $3, $4) AS n (id, version, name, record) WHERE s.id = n.id AND s.version = n.version - 1 RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM changed";
    DELETE_SNAPSHOTS(TEXT_ARRAY) false =
        "WITH gone AS (DELETE FROM dauer.snapshots WHERE id = ANY ($1) RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM gone";
    /// Behind the deletion, which waits for whoever puts an entry that leads there.
    CHECK_NOT_CACHED(TEXT_ARRAY) true =
        "SELECT 1 / (count(*) = 0)::int FROM dauer.cache WHERE snapshot = ANY ($1) AND state = 'ready'";
    CHECK_SNAPSHOTS(TEXT_ARRAY) true =
        "WITH there AS (SELECT 1 FROM dauer.snapshots WHERE id = ANY ($1) FOR KEY SHARE)
         SELECT 1 / (count(*) = (SELECT count(DISTINCT s) FROM unnest($1) AS s))::int FROM there";

    INSERT_CACHE(TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, BOOL_ARRAY, TEXT_ARRAY) false =
        "INSERT INTO dauer.cache (key, snapshot, exit_code, created_at, last_used_at, hits, bytes, pinned, state)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)";
    EVICT_CACHE(TEXT_ARRAY) true =
        "WITH marked AS (UPDATE dauer.cache SET state = 'evicting' WHERE key = ANY ($1) AND state = 'ready' AND NOT pinned RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM marked";
    MARK_CACHE(TEXT_ARRAY) true = "UPDATE dauer.cache SET state = 'evicting' WHERE key = ANY ($1)";
    HIT_CACHE(TEXT_ARRAY, INT8_ARRAY) false =
        "WITH used AS (
             UPDATE dauer.cache c SET hits = c.hits + 1, last_used_at = greatest(c.last_used_at, n.at)
             FROM unnest($1, $2) AS n (key, at) WHERE c.key = n.key AND c.state = 'ready' RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM used";
    PIN_CACHE(TEXT_ARRAY, BOOL_ARRAY) false =
        "WITH set AS (
             UPDATE dauer.cache c SET pinned = n.pinned FROM unnest($1, $2) AS n (key, pinned)
             WHERE c.key = n.key AND c.state = 'ready' RETURNING 1)
         SELECT 1 / (count(*) = cardinality($1))::int FROM set";
    DELETE_CACHE(TEXT_ARRAY) true = "DELETE FROM dauer.cache WHERE key = ANY ($1) AND state = 'evicting'";

    IMPORT_SNAPSHOTS(TEXT_ARRAY, INT8_ARRAY, TEXT_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.snapshots (id, version, name, record) SELECT * FROM unnest($1, $2, $3, $4) ON CONFLICT (id) DO NOTHING";
    IMPORT_CACHE(TEXT_ARRAY, TEXT_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, INT8_ARRAY, BOOL_ARRAY, TEXT_ARRAY) true =
        "INSERT INTO dauer.cache (key, snapshot, exit_code, created_at, last_used_at, hits, bytes, pinned, state)
         SELECT * FROM unnest($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";

    REFERENCED(TEXT) true =
        "SELECT 1 FROM dauer.checkpoints WHERE id = $1 OR folder = $1 UNION ALL SELECT 1 FROM dauer.snapshots WHERE id = $1 LIMIT 1";
    SNAPSHOT(TEXT) true = "SELECT record FROM dauer.snapshots WHERE id = $1";
    /// An exact id, an exact name, and two of those that begin with it where `$3` says so.
    FIND_SNAPSHOT(TEXT, TEXT, BOOL) true =
        "SELECT record, 0::bigint AS rank FROM dauer.snapshots WHERE id = $1
         UNION ALL SELECT record, 1 FROM dauer.snapshots WHERE name = $1
         UNION ALL (SELECT record, 2 FROM dauer.snapshots WHERE $3 AND id >= $1 AND id < $2 LIMIT 2)
         ORDER BY 2";
    SNAPSHOTS(TEXT, INT8) true = "SELECT record FROM dauer.snapshots WHERE id > $1 ORDER BY id LIMIT $2";
    SNAPSHOT_VERSION(TEXT) true = "SELECT version FROM dauer.snapshots WHERE id = $1";
    SNAPSHOT_OF_NAME(TEXT) true = "SELECT id FROM dauer.snapshots WHERE name = $1";
    SNAPSHOT_CACHED(TEXT) true = "SELECT key FROM dauer.cache WHERE snapshot = $1 AND state = 'ready' LIMIT 1";
    CACHE_ENTRY(TEXT) true =
        "SELECT key, snapshot, exit_code, created_at, last_used_at, hits, bytes, pinned, state FROM dauer.cache WHERE key = $1";
    CACHE_ENTRIES(TEXT, INT8) true =
        "SELECT key, snapshot, exit_code, created_at, last_used_at, hits, bytes, pinned, state FROM dauer.cache
         WHERE key > $1 ORDER BY key LIMIT $2";
    CACHE_LEAST_USED(INT8) true =
        "SELECT key, snapshot, exit_code, created_at, last_used_at, hits, bytes, pinned, state FROM dauer.cache
         WHERE state = 'ready' AND NOT pinned ORDER BY last_used_at, key LIMIT $1";
    CACHE_TOTALS() true = "SELECT count(*), coalesce(sum(bytes), 0)::bigint FROM dauer.cache WHERE state = 'ready'";
    COUNT_SNAPSHOTS() true = "SELECT count(*) FROM dauer.snapshots";
    COUNT_CACHE() true = "SELECT count(*) FROM dauer.cache";
    CHECK_ALL_SNAPSHOTS() true = "SELECT id, version, name, record FROM dauer.snapshots ORDER BY id";
}
