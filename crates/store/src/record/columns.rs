//! Everything but jobs as columns: words, numbers and JSON, and back.

use super::Broken;
use crate::moving::Mark;
use dauer_core::ledger::{Kind, Labels, OwnerKind};
use dauer_core::{
    CacheState, Checkpoint, CheckpointId, Definition, DefinitionRef, EndsChildren, JobId, Queue,
    Schedule, Scope, Snapshot, State, Timestamp, TokenStatus, Warm,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Plain data as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("invariant: plain data can be written as JSON")
}

fn read<T: DeserializeOwned>(json: &str, what: impl FnOnce() -> String) -> Result<T, Broken> {
    serde_json::from_str(json).map_err(|source| Broken::Unreadable {
        what: what(),
        source,
    })
}

/// A definition in its final form.
#[derive(Debug)]
pub(crate) struct DefinitionRow {
    pub(crate) id: DefinitionRef,
    pub(crate) runtime_type: String,
    pub(crate) config: String,
    pub(crate) retry_policy: String,
    pub(crate) metadata: String,
    pub(crate) created_at: Timestamp,
}

impl DefinitionRow {
    pub(super) fn of(definition: Definition) -> Self {
        Self {
            config: config(definition.config, definition.warm),
            retry_policy: json(&definition.retry_policy),
            metadata: json(&definition.metadata),
            runtime_type: definition.runtime_type,
            created_at: definition.created_at,
            id: DefinitionRef {
                name: definition.name,
                version: definition.version,
            },
        }
    }

    pub(crate) fn read(self) -> Result<Definition, Broken> {
        let what = || format!("the definition {}", self.id);
        let (config, warm) = read_config(read(&self.config, what)?, what)?;
        Ok(Definition {
            config,
            warm,
            retry_policy: read(&self.retry_policy, what)?,
            metadata: read(&self.metadata, what)?,
            runtime_type: self.runtime_type,
            created_at: self.created_at,
            name: self.id.name,
            version: self.id.version,
        })
    }
}

/// How jobs begin stands in the column of their fields, which has none of that name: a daemon of an older build that shares the store
/// refuses such a job for a field that it does not know, where it would otherwise begin all of them cold without a word.
const WARM: &str = "warm";

fn config(mut config: serde_json::Value, warm: Option<Warm>) -> String {
    if let (Some(warm), Some(fields)) = (warm, config.as_object_mut()) {
        let warm = serde_json::to_value(warm);
        let warm = warm.expect("invariant: plain data can be written as JSON");
        fields.insert(WARM.to_owned(), warm);
    }
    json(&config)
}

/// The inverse of [`config`].
fn read_config(
    mut config: serde_json::Value,
    what: impl FnOnce() -> String,
) -> Result<(serde_json::Value, Option<Warm>), Broken> {
    let fields = config.as_object_mut();
    let Some(warm) = fields.and_then(|fields| fields.remove(WARM)) else {
        return Ok((config, None));
    };
    match serde_json::from_value(warm) {
        Ok(warm) => Ok((config, Some(warm))),
        Err(source) => Err(Broken::Unreadable {
            what: what(),
            source,
        }),
    }
}

/// A checkpoint from its JSON.
pub(crate) fn checkpoint(job: &JobId, record: &str) -> Result<Checkpoint, Broken> {
    read(record, || format!("a checkpoint of job {job}"))
}

/// A snapshot from its JSON.
pub(crate) fn snapshot(record: &str) -> Result<Snapshot, Broken> {
    read(record, || "the record of a snapshot".into())
}

/// Whether an entry of the cache may be used.
pub(crate) fn cache_state(name: &str) -> Result<CacheState, Broken> {
    CacheState::from_name(name)
        .ok_or_else(|| Broken::Rule(format!("the cache names an unknown state {name:?}")))
}

/// A schedule from its JSON.
pub(crate) fn schedule(record: &str) -> Result<Schedule, Broken> {
    read(record, || "the record of a schedule".into())
}

/// The settings of a queue from their JSON.
pub(crate) fn queue(settings: &str) -> Result<Queue, Broken> {
    read(settings, || format!("the settings of a queue ({settings})"))
}

/// What is moved, from its JSON.
pub(crate) fn mark(text: &str) -> Result<Mark, Broken> {
    read(text, || "what is being moved into this store".into())
}

/// The columns of a token's status: its word, the checkpoint, the message.
pub(crate) fn token_columns(status: &TokenStatus) -> (&'static str, Option<&str>, Option<&str>) {
    match status {
        TokenStatus::Requested => ("requested", None, None),
        TokenStatus::Done { checkpoint } => ("done", Some(checkpoint.as_str()), None),
        TokenStatus::Failed { message } => ("failed", None, Some(message)),
    }
}

/// The inverse of [`token_columns`], of this token of this job.
pub(crate) fn token_status(
    (job, token): (&JobId, &str),
    columns: (String, Option<String>, Option<String>),
) -> Result<TokenStatus, Broken> {
    let (word, checkpoint, message) = columns;
    match (word.as_str(), checkpoint, message) {
        ("requested", None, None) => Ok(TokenStatus::Requested),
        ("done", Some(checkpoint), None) => Ok(TokenStatus::Done {
            checkpoint: CheckpointId(checkpoint),
        }),
        ("failed", None, Some(message)) => Ok(TokenStatus::Failed { message }),
        (other, ..) => Err(Broken::Rule(format!(
            "the token {token:?} of job {job} has no good status ({other})"
        ))),
    }
}

/// A state in the journal.
pub(crate) fn state(name: &str) -> Result<State, Broken> {
    State::from_name(name)
        .ok_or_else(|| Broken::Rule(format!("the journal names an unknown state {name:?}")))
}

/// What a token for callers may do.
pub(crate) fn scope(name: &str) -> Result<Scope, Broken> {
    Scope::from_name(name)
        .ok_or_else(|| Broken::Rule(format!("a token has the unknown scope {name:?}")))
}

/// What sort of owner the ledger means.
pub(crate) fn owner_kind(name: &str) -> Result<OwnerKind, Broken> {
    let mut all = OwnerKind::ALL.into_iter();
    all.find(|known| known.name() == name)
        .ok_or_else(|| unknown_in_ledger(name))
}

/// What an interval of the ledger is of.
pub(crate) fn interval_kind(name: &str) -> Result<Kind, Broken> {
    let mut all = Kind::ALL.into_iter();
    all.find(|known| known.name() == name)
        .ok_or_else(|| unknown_in_ledger(name))
}

fn unknown_in_ledger(word: &str) -> Broken {
    Broken::Rule(format!("the ledger has the unknown word {word:?}"))
}

/// What an interval is found by, as JSON.
pub(crate) fn labels(labels: &Labels) -> String {
    json(labels)
}

/// The inverse of [`labels`], of an interval of this owner.
pub(crate) fn read_labels(kind: &str, owner: &str, labels: &str) -> Result<Labels, Broken> {
    read(labels, || format!("an interval of {kind} {owner}"))
}

/// The column of what becomes of a job's children.
pub(super) fn standing(children: Option<EndsChildren>) -> Option<&'static str> {
    children.map(|children| if children.done { "done" } else { "asked" })
}

/// Integers of a store are signed. Versions and positions count single commits and never come near the limit.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The inverse of [`signed`].
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// How many are asked for.
pub(crate) fn limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}
