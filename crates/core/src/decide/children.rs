//! The jobs below a job: when somebody cancels it with them, its record says so before any of them hears of it.

use super::verdict::{Effect, Move, Verdict, Why};
use super::{movement, next};
use crate::job::{EndsChildren, Job};

/// What the end of this job becomes where those below it are to end too.
pub(super) fn with_children(job: &Job, ending: Verdict, grace_ms: Option<u64>) -> Verdict {
    if job.ends_children.is_some() {
        return ending;
    }
    match ending {
        Verdict::Move(mut movement) => {
            end_children(&mut movement, grace_ms);
            Verdict::Move(movement)
        }
        // It is ending already; those below it are not.
        Verdict::Ignore(_) => children_end_asked(job, grace_ms),
        Verdict::Refuse(refusal) => Verdict::Refuse(refusal),
    }
}

pub(super) fn children_end_asked(job: &Job, grace_ms: Option<u64>) -> Verdict {
    if job.ends_children.is_some() {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    let mut movement = movement(next(job), "children_end_asked", Vec::new());
    end_children(&mut movement, grace_ms);
    Verdict::Move(movement)
}

fn end_children(movement: &mut Move, grace_ms: Option<u64>) {
    movement.job.ends_children = Some(EndsChildren {
        grace_ms,
        done: false,
    });
    // First: they need not wait for what ends the job itself.
    movement.effects.insert(0, Effect::EndChildren { grace_ms });
}

pub(super) fn children_ended(job: &Job) -> Verdict {
    match job.ends_children {
        Some(EndsChildren {
            grace_ms,
            done: false,
        }) => {
            let mut next = next(job);
            next.ends_children = Some(EndsChildren {
                grace_ms,
                done: true,
            });
            Verdict::Move(movement(next, "children_ended", Vec::new()))
        }
        Some(EndsChildren { done: true, .. }) | None => Verdict::Ignore(Why::AlreadyDone),
    }
}
