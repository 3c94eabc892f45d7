//! Describing a job anew, and discarding what it kept: what may be done at any time, also to one that has ended.

use super::verdict::{Refusal, Verdict, Why};
use super::{movement, next};
use crate::kept::Kept;
use crate::ledger::{Labels, Owner, Relabelling};
use crate::{Job, Timestamp};
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) fn described(
    job: &Job,
    tags: &BTreeMap<String, Option<String>>,
    metadata: &BTreeMap<String, Option<Value>>,
    at: Timestamp,
) -> Verdict {
    let mut next = next(job);
    let mut said = merge(&mut next.spec_mut().tags, tags);
    let relabelled = !said.is_empty();
    said.extend(
        merge(&mut next.spec_mut().metadata, metadata)
            .into_iter()
            .map(|key| format!("metadata.{key}")),
    );
    if said.is_empty() {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    let mut kept = vec![Kept::Described {
        tags: next.spec.tags.clone(),
        metadata: next.spec.metadata.clone(),
    }];
    if relabelled {
        kept.push(Kept::Relabelled(Relabelling {
            owner: Owner::job(&job.id),
            at,
            labels: Labels::of(&next),
        }));
    }
    let mut movement = movement(next, "described", Vec::new());
    movement.detail = Some(said.join(", "));
    movement.kept = kept;
    Verdict::Move(movement)
}

/// Sets what is given and removes what is `None`. Returns the keys that changed, with `-` behind those that are gone.
pub fn merge<T: Clone + PartialEq>(
    into: &mut BTreeMap<String, T>,
    changes: &BTreeMap<String, Option<T>>,
) -> Vec<String> {
    let mut changed = Vec::new();
    for (key, value) in changes {
        match value {
            Some(value) if into.get(key) != Some(value) => {
                into.insert(key.clone(), value.clone());
                changed.push(key.clone());
            }
            None if into.remove(key).is_some() => changed.push(format!("{key}-")),
            Some(_) | None => {}
        }
    }
    changed
}

pub(super) fn discarded(job: &Job) -> Verdict {
    if !job.state.is_terminal() {
        return Verdict::Refuse(Refusal::WrongState {
            asked: "discard",
            state: job.state,
        });
    }
    if job.checkpoint.is_none() {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    let mut next = next(job);
    next.checkpoint = None;
    // Its images go with everything else of the job, which whoever asks removes next.
    Verdict::Move(movement(next, "discarded", Vec::new()))
}
