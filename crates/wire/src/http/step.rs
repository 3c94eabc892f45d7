//! Steps, which are run once and then answered from the cache; and the cache.

use super::CreateJob;
use serde::{Deserialize, Serialize};

/// `POST /v1/steps`: a program to run in a sandbox of its own, whose files are kept where it ends with 0. Answer: 200 with a
/// [`StepEvent`] a line, the last of which is the result.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct StepCall {
    /// The program and its sandbox, as for a job. What only a job has (a name, a terminal, input, ports, a policy) is refused.
    pub job: CreateJob,
    /// The snapshot it begins from, by its id or name, instead of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What its files are kept under: the next step of this key is not run. One line that says all that the result depends on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Derive the key: a digest of the image or of the step before, the command, the environment, the folder and what is injected.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub derive_key: bool,
    /// The run it belongs to, by any name. What its steps leave that no key has is there until `DELETE /v1/steps/{run}`, or until
    /// the daemon ends. Without one it goes with the step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run: Option<String>,
}

/// A line of the answer to a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum StepEvent {
    /// The program wrote something. A step that is answered from the cache writes nothing.
    Output {
        /// `stdout` or `stderr`.
        stream: String,
        /// What, in base64.
        base64: String,
    },
    /// Nothing for a while; so that a connection that is gone is noticed.
    Waiting,
    /// It is over.
    Result(StepView),
    /// It could not be run to its end; nothing of it is kept.
    Failed {
        /// A problem's code.
        code: String,
        /// One line.
        detail: String,
    },
}

/// What came of a step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StepView {
    /// The program's, or 128 + signal.
    pub exit_code: i32,
    /// Its files, where it ended with 0 and something has them.
    pub snapshot: Option<String>,
    /// It was not run: the files are those of an earlier step.
    pub cached: bool,
    /// The cache has them.
    pub kept: bool,
    /// The key.
    pub key: Option<String>,
}

/// `GET /v1/cache`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CacheView {
    /// What there is, by keys. Left out of `GET /v1/cache?entries=false`.
    pub entries: Vec<CacheEntryView>,
    /// How many.
    pub count: u64,
    /// How much they take.
    pub bytes: u64,
    /// So many there may be; absent: as many as come.
    pub entries_max: Option<u64>,
    /// So much they may take; absent: as much as comes.
    pub bytes_max: Option<u64>,
}

/// What is kept under a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CacheEntryView {
    /// The key.
    pub key: String,
    /// The files.
    pub snapshot: String,
    /// When the step was run.
    pub created_at: i64,
    /// When it was last asked for.
    pub last_used_at: i64,
    /// How often it was answered with.
    pub hits: u64,
    /// What it takes on disk.
    pub bytes: u64,
    /// It is not removed to make room.
    pub pinned: bool,
}

/// `DELETE /v1/cache`: what was removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CleanedCache {
    /// Entries.
    pub removed: Vec<CacheEntryView>,
    /// What they took.
    pub bytes: u64,
}
