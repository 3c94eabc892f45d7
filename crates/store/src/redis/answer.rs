//! What the scripts answer, as values of ours.

use super::fault::Fault;
use crate::{Error, Keyed};
use dauer_core::{CheckpointId, DefinitionRef, JobId, NodeId};
use redis::Value;

/// Ahead of the digest in what a key of a request was used for.
const BETWEEN: char = '\0';

/// A text of an answer.
pub(super) fn text(value: Value) -> Result<String, Fault> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).map_err(|_| Fault::Form("a text")),
        Value::SimpleString(text) => Ok(text),
        Value::Int(number) => Ok(number.to_string()),
        _ => Err(Fault::Form("a text")),
    }
}

/// A text, or nothing.
pub(super) fn some_text(value: Value) -> Result<Option<String>, Fault> {
    match value {
        Value::Nil | Value::Boolean(false) => Ok(None),
        other => text(other).map(Some),
    }
}

/// A list.
pub(super) fn list(value: Value) -> Result<Vec<Value>, Fault> {
    match value {
        Value::Array(values) | Value::Set(values) => Ok(values),
        Value::Nil => Ok(Vec::new()),
        _ => Err(Fault::Form("a list")),
    }
}

/// A list of texts.
pub(super) fn texts(value: Value) -> Result<Vec<String>, Fault> {
    list(value)?.into_iter().map(text).collect()
}

/// A list of so many values.
pub(super) fn tuple<const N: usize>(value: Value) -> Result<[Value; N], Fault> {
    let values = list(value)?;
    values.try_into().map_err(|_| Fault::Form("a row"))
}

/// A whole number.
pub(super) fn number<T: std::str::FromStr>(value: Value) -> Result<T, Fault> {
    text(value)?.parse().map_err(|_| Fault::Form("a number"))
}

/// A whole number, or nothing.
pub(super) fn some_number<T: std::str::FromStr>(value: Value) -> Result<Option<T>, Fault> {
    some_text(value)?
        .map(|text| text.parse().map_err(|_| Fault::Form("a number")))
        .transpose()
}

/// What a key of a request was used for.
pub(super) fn keyed(text: &str) -> Result<Keyed, Fault> {
    let (job, digest) = text.split_once(BETWEEN).ok_or(Fault::Form("a key"))?;
    Ok(Keyed {
        job: job.into(),
        digest: digest.to_owned(),
    })
}

/// What became of a write, and what it found out.
pub(super) fn outcome(answer: Value) -> Result<Vec<String>, Error> {
    let mut said = texts(answer)?;
    if said.first().is_some_and(|word| word == "done") {
        said.remove(0);
        return Ok(said);
    }
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let number = |text: &str| text.parse().map_err(|_| Fault::Form("a version"));
    Err(match said.as_slice() {
        [] => return Ok(Vec::new()),
        ["conflict", job, expected, found] => Error::Conflict {
            job: JobId::from(*job),
            expected: number(expected)?,
            found: number(found)?,
        },
        ["not_found", what] => Error::NotFound((*what).to_owned()),
        ["name", name, job] => Error::NameInUse {
            name: (*name).to_owned(),
            job: JobId::from(*job),
        },
        ["key", key, used] => Error::KeyInUse {
            key: (*key).to_owned(),
            used: keyed(used)?,
        },
        ["parent_ending", parent] => Error::ParentEnding(JobId::from(*parent)),
        ["unique", key, job] => Error::NotUnique {
            key: (*key).to_owned(),
            job: JobId::from(*job),
        },
        ["defined", member] => {
            let (name, version) = member.split_once(BETWEEN).ok_or(Fault::Form("a name"))?;
            Error::Defined(DefinitionRef {
                name: name.to_owned(),
                version: version.to_owned(),
            })
        }
        ["schedule_exists", name] => Error::ScheduleExists((*name).to_owned()),
        ["schedule_changed", name] => Error::ScheduleChanged((*name).to_owned()),
        ["unreferenced", folder] => Error::Unreferenced(CheckpointId::from(*folder)),
        ["no_snapshot", text] => Error::NoSnapshot((*text).to_owned()),
        ["snapshot_changed", id] => Error::SnapshotChanged(CheckpointId::from(*id)),
        ["snapshot_name", name, id] => Error::SnapshotNameInUse {
            name: (*name).to_owned(),
            snapshot: CheckpointId::from(*id),
        },
        ["snapshot_cached", id, key] => Error::SnapshotCached {
            snapshot: CheckpointId::from(*id),
            key: (*key).to_owned(),
        },
        ["not_cached", key] => Error::NotCached((*key).to_owned()),
        ["cache_key", key] => Error::CacheKeyInUse((*key).to_owned()),
        ["cache_changed", key] => Error::CacheChanged((*key).to_owned()),
        ["held", job, node] => Error::Held {
            job: JobId::from(*job),
            node: NodeId::from(*node),
        },
        ["fenced", node, epoch, found] => Error::Fenced {
            node: NodeId::from(*node),
            epoch: number(epoch)?,
            found: match *found {
                "" => None,
                found => Some(number(found)?),
            },
        },
        ["lease_changed", node] => Error::LeaseChanged(NodeId::from(*node)),
        ["rule", why] => Fault::Rule((*why).to_owned()).into(),
        _ => Fault::Form("a refusal").into(),
    })
}
