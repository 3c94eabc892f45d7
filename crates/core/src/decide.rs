//! What an event does to a job. Pure: the time, new ids and everything else arrive in the event.
//!
//! A verdict of [`Verdict::Move`] is committed whole (record, journal entry, checkpoint, token) before any of its
//! effects is tried; results of effects come back as events. An event of an earlier incarnation changes nothing.

use crate::job::{Checkpoint, End, Intent, Job, Outcome, Reason, Token, TokenStatus};
use crate::{CheckpointId, Operation, SandboxId, State, Timestamp};

/// A job that killed its sandbox so often without reaching another checkpoint is not tried again.
pub const RESTORES_IN_A_ROW_MAX: u32 = 5;

/// A wake that could not be carried out for a passing reason is tried again after so long.
pub const WAKE_RETRY_MS: u64 = 30_000;

/// A KILL that did not end the sandbox is tried again after so long.
pub const KILL_RETRY_MS: u64 = 10_000;

/// Something that happened to a job.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The incarnation it is about; absent where a caller or the clock speaks.
    pub generation: Option<u32>,
    /// What.
    pub kind: EventKind,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// The scheduler has room for it.
    Admitted {
        /// For the sandbox to be made.
        sandbox: SandboxId,
        /// This boot of the machine.
        boot_id: String,
    },
    /// The sandbox runs the program (again).
    Started,
    /// The incarnation ended.
    Ended(Ended),
    /// Somebody wants a checkpoint.
    CheckpointAsked {
        /// The id it is to have.
        checkpoint: CheckpointId,
        /// The job's own key, where the job asked.
        token: Option<String>,
        /// What comes after it.
        then: Then,
    },
    /// A checkpoint is complete on disk.
    CheckpointPublished(Checkpoint),
    /// A checkpoint could not be taken; the sandbox goes on.
    CheckpointFailed {
        /// Which.
        checkpoint: CheckpointId,
        /// Why.
        message: String,
    },
    /// Wake it up.
    Wake {
        /// A person asks; otherwise it is due.
        asked: bool,
        /// This boot of the machine.
        boot_id: String,
    },
    /// Somebody wants it to end.
    EndAsked {
        /// Why.
        end: End,
        /// From TERM to KILL; the job's own where absent. Zero: KILL at once.
        grace_ms: Option<u64>,
    },
    /// The grace of an ending job is over.
    GraceOver,
    /// The attempt's time is over.
    DeadlineReached,
    /// Every process and kernel object of the incarnation is gone.
    Released,
}

/// How an incarnation ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The program ended.
    Exited {
        /// What it returned …
        code: Option<i32>,
        /// … or what killed it.
        signal: Option<i32>,
        /// The kernel killed something of it at the memory limit.
        out_of_memory: bool,
    },
    /// The sandbox or the program could not be started.
    StartFailed {
        /// As shells do: 127, 126; 125 where it is Dauer's failure.
        code: i32,
        /// One line.
        message: String,
    },
    /// The checkpoint could not be restored.
    RestoreFailed {
        /// One line.
        message: String,
        /// The image itself is bad: trying again is useless.
        bad_image: bool,
    },
    /// The sandbox vanished.
    Lost {
        /// The kernel killed it at the memory limit.
        out_of_memory: bool,
        /// Because the machine itself went down: not the job's fault.
        rebooted: bool,
    },
}

/// What comes after a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The job goes on.
    Continue,
    /// The sandbox goes; the job sleeps until then, or until somebody wakes it.
    Suspend {
        /// Until then.
        wake_at: Option<Timestamp>,
    },
}

/// Something to do, keyed by (job, generation, effect) and safe to repeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make a fresh sandbox of the record's generation and start the program.
    Start,
    /// Make a sandbox of the record's generation from this checkpoint.
    Restore {
        /// Which.
        checkpoint: CheckpointId,
        /// Its output may repeat.
        after_loss: bool,
    },
    /// Take and publish a checkpoint.
    TakeCheckpoint {
        /// Under this id.
        checkpoint: CheckpointId,
        /// For the record.
        token: Option<String>,
        /// Stay frozen afterwards.
        freeze: bool,
    },
    /// Ask the program to end.
    Terminate,
    /// Kill everything of this incarnation and remove what the kernel holds for it; then [`EventKind::Released`].
    Destroy {
        /// Which incarnation.
        generation: u32,
    },
    /// Drop checkpoints that are no longer needed: all but the newest, or all.
    DropCheckpoints {
        /// Keep this one.
        keep: Option<CheckpointId>,
    },
}

/// What is to become of an event.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// Commit this, then carry out its effects.
    Move(Box<Move>),
    /// It changes nothing, rightly.
    Ignore(Why),
    /// It cannot be done: tell whoever asked.
    Refuse(Refusal),
}

/// A change to be committed.
#[derive(Clone, Debug, PartialEq)]
pub struct Move {
    /// The record after it.
    pub job: Job,
    /// For the journal.
    pub event: &'static str,
    /// For the journal.
    pub detail: Option<String>,
    /// A checkpoint that becomes committed.
    pub checkpoint: Option<Checkpoint>,
    /// A token's new status.
    pub token: Option<Token>,
    /// Tokens that are still requested are forgotten: the code that asked was rolled back.
    pub forget_requested_tokens: bool,
    /// To be carried out after the commit, in this order.
    pub effects: Vec<Effect>,
}

/// Why an event changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It is about an earlier incarnation.
    StaleGeneration,
    /// It was applied already.
    AlreadyDone,
    /// The job moved on in the meantime.
    NoLongerMatters,
}

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has ended.
    HasEnded(State),
    /// It is not in the state for it.
    WrongState {
        /// What was asked.
        asked: &'static str,
        /// Where it is.
        state: State,
    },
    /// Another operation is in flight: ask again when it is done.
    Busy(Operation),
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::HasEnded(state) => write!(f, "the job has ended ({state})"),
            Self::WrongState { asked, state } => write!(f, "cannot {asked}: the job is {state}"),
            Self::Busy(operation) => write!(
                f,
                "the job is busy ({operation}): try again when that is done"
            ),
        }
    }
}

/// What this event does to this job.
#[must_use]
pub fn decide(job: &Job, event: &Event) -> Verdict {
    if event
        .generation
        .is_some_and(|generation| generation != job.generation)
    {
        return Verdict::Ignore(Why::StaleGeneration);
    }
    let at = event.at;
    match &event.kind {
        EventKind::Admitted { sandbox, boot_id } => admitted(job, sandbox, boot_id),
        EventKind::Started => started(job, at),
        EventKind::Ended(ended) => incarnation_ended(job, ended, at),
        EventKind::CheckpointAsked {
            checkpoint,
            token,
            then,
        } => checkpoint_asked(job, checkpoint, token.as_deref(), *then),
        EventKind::CheckpointPublished(checkpoint) => published(job, checkpoint, at),
        EventKind::CheckpointFailed {
            checkpoint,
            message,
        } => checkpoint_failed(job, checkpoint, message),
        EventKind::Wake { asked, boot_id } => wake(job, *asked, boot_id),
        EventKind::EndAsked { end, grace_ms } => end_asked(job, *end, *grace_ms, at),
        EventKind::GraceOver => grace_over(job, at),
        EventKind::DeadlineReached => deadline_reached(job, at),
        EventKind::Released => released(job),
    }
}

fn next(job: &Job) -> Job {
    let mut next = job.clone();
    next.version += 1;
    next
}

fn movement(job: Job, event: &'static str, effects: Vec<Effect>) -> Box<Move> {
    Box::new(Move {
        job,
        event,
        detail: None,
        checkpoint: None,
        token: None,
        forget_requested_tokens: false,
        effects,
    })
}

fn admitted(job: &Job, sandbox: &SandboxId, boot_id: &str) -> Verdict {
    if job.state != State::Pending {
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    let mut next = next(job);
    next.state = State::Running;
    next.operation = Some(Operation::Starting);
    next.attempt += 1;
    next.generation += 1;
    next.sandbox = Some(sandbox.clone());
    next.boot_id = Some(boot_id.to_owned());
    Verdict::Move(movement(next, "admitted", vec![Effect::Start]))
}

fn started(job: &Job, at: Timestamp) -> Verdict {
    let event = match job.operation {
        Some(Operation::Starting) => "started",
        Some(Operation::Waking) => "woken",
        Some(Operation::Restarting) => "restored",
        Some(Operation::Checkpointing | Operation::Suspending) | None => {
            return Verdict::Ignore(Why::AlreadyDone);
        }
        Some(Operation::Terminating | Operation::Exiting) => {
            return Verdict::Ignore(Why::NoLongerMatters);
        }
    };
    let mut next = next(job);
    next.state = State::Running;
    next.operation = None;
    next.intent = None;
    next.wake_at = None;
    next.started_at = job.started_at.or(Some(at));
    next.deadline_at = job.timeout_left_ms.map(|left| at.plus_ms(left));
    Verdict::Move(movement(next, event, Vec::new()))
}

fn checkpoint_asked(
    job: &Job,
    checkpoint: &CheckpointId,
    token: Option<&str>,
    then: Then,
) -> Verdict {
    let asked = match then {
        Then::Continue => "checkpoint",
        Then::Suspend { .. } => "suspend",
    };
    match (job.state, job.operation) {
        (State::Running, None) => {}
        (State::Running, Some(operation)) => return Verdict::Refuse(Refusal::Busy(operation)),
        (state, _) if state.is_terminal() => return Verdict::Refuse(Refusal::HasEnded(state)),
        (state, _) => return Verdict::Refuse(Refusal::WrongState { asked, state }),
    }
    let mut next = next(job);
    let (operation, wake_at, event) = match then {
        Then::Continue => (Operation::Checkpointing, None, "checkpoint_asked"),
        Then::Suspend { wake_at } => (Operation::Suspending, wake_at, "suspend_asked"),
    };
    next.operation = Some(operation);
    next.intent = Some(Intent::Checkpoint {
        checkpoint: checkpoint.clone(),
        token: token.map(str::to_owned),
        wake_at,
    });
    let effect = Effect::TakeCheckpoint {
        checkpoint: checkpoint.clone(),
        token: token.map(str::to_owned),
        freeze: operation == Operation::Suspending,
    };
    let mut movement = movement(next, event, vec![effect]);
    movement.token = token.map(|token| Token {
        job: job.id.clone(),
        token: token.to_owned(),
        generation: job.generation,
        status: TokenStatus::Requested,
    });
    Verdict::Move(movement)
}

/// The intent of a checkpoint in flight, if it is this one.
fn asked_for<'a>(
    job: &'a Job,
    id: &CheckpointId,
) -> Option<(&'a Option<String>, Option<Timestamp>)> {
    match &job.intent {
        Some(Intent::Checkpoint {
            checkpoint,
            token,
            wake_at,
        }) if checkpoint == id => Some((token, *wake_at)),
        Some(Intent::Checkpoint { .. } | Intent::Wake { .. } | Intent::End { .. }) | None => None,
    }
}

fn published(job: &Job, checkpoint: &Checkpoint, at: Timestamp) -> Verdict {
    if job.checkpoint.as_ref() == Some(&checkpoint.id) {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    let Some((token, wake_at)) = asked_for(job, &checkpoint.id) else {
        return Verdict::Ignore(Why::NoLongerMatters);
    };
    let mut next = next(job);
    next.intent = None;
    next.checkpoint = Some(checkpoint.id.clone());
    next.restores_in_a_row = 0;
    next.last_error = None;
    let keep = Effect::DropCheckpoints {
        keep: Some(checkpoint.id.clone()),
    };
    let (event, effects) = if job.operation == Some(Operation::Suspending) {
        next.state = State::Suspended;
        next.wake_at = wake_at;
        next.timeout_left_ms = job.deadline_at.map(|deadline| deadline.since(at));
        next.deadline_at = None;
        // The operation stays until the frozen sandbox is gone, so that nothing wakes the job beside it.
        (
            "suspended",
            vec![
                Effect::Destroy {
                    generation: job.generation,
                },
                keep,
            ],
        )
    } else {
        next.operation = None;
        ("checkpointed", vec![keep])
    };
    let mut movement = movement(next, event, effects);
    movement.detail = Some(format!("checkpoint {}", checkpoint.id));
    movement.checkpoint = Some(checkpoint.clone());
    movement.token = token.clone().map(|token| Token {
        job: job.id.clone(),
        token,
        generation: job.generation,
        status: TokenStatus::Done {
            checkpoint: checkpoint.id.clone(),
        },
    });
    Verdict::Move(movement)
}

fn checkpoint_failed(job: &Job, checkpoint: &CheckpointId, message: &str) -> Verdict {
    let Some((token, _)) = asked_for(job, checkpoint) else {
        return Verdict::Ignore(Why::NoLongerMatters);
    };
    let mut next = next(job);
    next.operation = None;
    next.intent = None;
    next.last_error = Some(message.to_owned());
    let mut movement = movement(next, "checkpoint_failed", Vec::new());
    movement.detail = Some(message.to_owned());
    movement.token = token.clone().map(|token| Token {
        job: job.id.clone(),
        token,
        generation: job.generation,
        status: TokenStatus::Failed {
            message: message.to_owned(),
        },
    });
    Verdict::Move(movement)
}

fn wake(job: &Job, asked: bool, boot_id: &str) -> Verdict {
    match (job.state, job.operation) {
        (State::Suspended, None) => {}
        (State::Suspended, Some(operation)) => return Verdict::Refuse(Refusal::Busy(operation)),
        (state, _) if state.is_terminal() => return Verdict::Refuse(Refusal::HasEnded(state)),
        (state, _) => {
            return Verdict::Refuse(Refusal::WrongState {
                asked: "resume",
                state,
            });
        }
    }
    let Some(checkpoint) = job.checkpoint.clone() else {
        panic!(
            "invariant: a suspended job has a checkpoint, job {}",
            job.id
        );
    };
    let mut next = next(job);
    next.operation = Some(Operation::Waking);
    next.intent = Some(Intent::Wake { asked });
    next.generation += 1;
    next.boot_id = Some(boot_id.to_owned());
    let mut movement = movement(
        next,
        "waking",
        vec![Effect::Restore {
            checkpoint,
            after_loss: false,
        }],
    );
    movement.forget_requested_tokens = true;
    Verdict::Move(movement)
}

fn end_asked(job: &Job, end: End, grace_ms: Option<u64>, at: Timestamp) -> Verdict {
    if job.state.is_terminal() {
        return Verdict::Refuse(Refusal::HasEnded(job.state));
    }
    let grace_ms = if end == End::Kill {
        0
    } else {
        grace_ms.unwrap_or(job.spec.stop_grace_ms)
    };
    match (job.state, job.operation) {
        // Nothing lives: it ends here. A frozen sandbox that is being destroyed goes on being destroyed.
        (State::Pending | State::PendingRetry, _)
        | (State::Suspended, None | Some(Operation::Suspending)) => {
            let signal = if grace_ms == 0 { 9 } else { 15 };
            Verdict::Move(terminal(job, ended_by(end, None, Some(signal)), at))
        }
        (State::Running | State::Suspended, operation) => ending(job, operation, end, grace_ms, at),
        (State::Stopped | State::Error, _) => Verdict::Refuse(Refusal::WrongState {
            asked: "end",
            state: job.state,
        }),
        (State::Completed | State::Failed | State::Cancelled, _) => {
            Verdict::Refuse(Refusal::HasEnded(job.state))
        }
    }
}

/// A live job is asked to end, or asked again.
fn ending(
    job: &Job,
    operation: Option<Operation>,
    end: End,
    grace_ms: u64,
    at: Timestamp,
) -> Verdict {
    let kill_at = at.plus_ms(grace_ms);
    let (end, kill_at) = match &job.intent {
        // The first reason stands, except that KILL beats everything; the earlier KILL counts.
        Some(Intent::End {
            end: first,
            kill_at: first_kill_at,
        }) => {
            if end != End::Kill && kill_at >= *first_kill_at {
                return Verdict::Ignore(Why::AlreadyDone);
            }
            (
                if end == End::Kill { end } else { *first },
                kill_at.min(*first_kill_at),
            )
        }
        Some(Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => (end, kill_at),
    };
    let mut next = next(job);
    next.intent = Some(Intent::End { end, kill_at });
    next.operation = Some(Operation::Terminating);
    // A sandbox that is not yet up, or stands frozen, hears no signal.
    let deaf = match operation {
        Some(
            Operation::Starting | Operation::Waking | Operation::Restarting | Operation::Suspending,
        ) => true,
        Some(Operation::Checkpointing | Operation::Terminating | Operation::Exiting) | None => {
            false
        }
    };
    let effect = if grace_ms == 0 || deaf {
        Effect::Destroy {
            generation: job.generation,
        }
    } else {
        Effect::Terminate
    };
    Verdict::Move(movement(next, "end_asked", vec![effect]))
}

fn grace_over(job: &Job, at: Timestamp) -> Verdict {
    let (Some(Operation::Terminating), Some(Intent::End { end, .. })) =
        (job.operation, &job.intent)
    else {
        return Verdict::Ignore(Why::NoLongerMatters);
    };
    let mut next = next(job);
    // Should even KILL not work at once, it is tried again then.
    next.intent = Some(Intent::End {
        end: *end,
        kill_at: at.plus_ms(KILL_RETRY_MS),
    });
    Verdict::Move(movement(
        next,
        "killing",
        vec![Effect::Destroy {
            generation: job.generation,
        }],
    ))
}

fn deadline_reached(job: &Job, at: Timestamp) -> Verdict {
    match job.deadline_at {
        Some(deadline) if deadline <= at && job.state == State::Running => {
            if matches!(job.intent, Some(Intent::End { .. })) {
                return Verdict::Ignore(Why::NoLongerMatters);
            }
            end_asked(job, End::Timeout, None, at)
        }
        Some(_) | None => Verdict::Ignore(Why::NoLongerMatters),
    }
}

fn released(job: &Job) -> Verdict {
    match job.operation {
        Some(Operation::Exiting) => {
            let mut next = next(job);
            next.operation = None;
            Verdict::Move(movement(next, "released", Vec::new()))
        }
        Some(Operation::Suspending) if job.state == State::Suspended => {
            let mut next = next(job);
            next.operation = None;
            Verdict::Move(movement(next, "released", Vec::new()))
        }
        Some(
            Operation::Starting
            | Operation::Checkpointing
            | Operation::Suspending
            | Operation::Waking
            | Operation::Terminating
            | Operation::Restarting,
        )
        | None => Verdict::Ignore(Why::NoLongerMatters),
    }
}

fn incarnation_ended(job: &Job, ended: &Ended, at: Timestamp) -> Verdict {
    if job.state.is_terminal() {
        return Verdict::Ignore(Why::AlreadyDone);
    }
    if job.state == State::Suspended && job.operation != Some(Operation::Waking) && !is_ending(job)
    {
        // The frozen sandbox of a suspended job going away is what was wanted.
        return Verdict::Ignore(Why::NoLongerMatters);
    }
    let end = match &job.intent {
        Some(Intent::End { end, .. }) => Some(*end),
        Some(Intent::Checkpoint { .. } | Intent::Wake { .. }) | None => None,
    };
    match ended {
        Ended::Exited {
            code,
            signal,
            out_of_memory,
        } => {
            let ended = match end {
                Some(end) => ended_by(end, *code, *signal),
                None => exited(*code, *signal, *out_of_memory),
            };
            Verdict::Move(terminal(job, ended, at))
        }
        Ended::StartFailed { code, message } => {
            let code = (*code != 125).then_some(*code);
            let outcome = Outcome {
                exit_code: code,
                signal: None,
                reason: Some(Reason::StartFailed),
                message: Some(message.clone()),
            };
            Verdict::Move(terminal(job, (State::Failed, outcome), at))
        }
        Ended::RestoreFailed { message, bad_image } => match end {
            Some(end) => Verdict::Move(terminal(job, ended_by(end, None, Some(9)), at)),
            None => restore_failed(job, message, *bad_image, at),
        },
        Ended::Lost {
            out_of_memory,
            rebooted,
        } => match end {
            Some(end) => Verdict::Move(terminal(job, ended_by(end, None, Some(9)), at)),
            None => lost(job, *out_of_memory, *rebooted, at),
        },
    }
}

fn is_ending(job: &Job) -> bool {
    matches!(job.intent, Some(Intent::End { .. }))
}

fn exited(code: Option<i32>, signal: Option<i32>, out_of_memory: bool) -> (State, Outcome) {
    let outcome = |reason| Outcome {
        exit_code: code,
        signal,
        reason,
        message: None,
    };
    match (code, signal) {
        (Some(0), _) => (State::Completed, outcome(None)),
        (_, Some(_)) if out_of_memory => (State::Failed, outcome(Some(Reason::OutOfMemory))),
        (Some(_), _) => (State::Failed, outcome(Some(Reason::ExitCode))),
        (None, _) => (State::Failed, outcome(Some(Reason::Signal))),
    }
}

/// State and outcome of a job that ended because somebody or the clock wanted it.
fn ended_by(end: End, code: Option<i32>, signal: Option<i32>) -> (State, Outcome) {
    let outcome = |reason| Outcome {
        exit_code: code,
        signal,
        reason,
        message: None,
    };
    match end {
        End::Stop => (State::Cancelled, outcome(None)),
        End::Kill => (State::Failed, outcome(Some(Reason::Killed))),
        End::Timeout => (State::Failed, outcome(Some(Reason::Timeout))),
    }
}

fn terminal(job: &Job, (state, outcome): (State, Outcome), at: Timestamp) -> Box<Move> {
    let mut next = next(job);
    // A job that never had a sandbox, or none any more, has nothing to clean up.
    let has_sandbox =
        job.generation > 0 && !(job.state == State::Suspended && job.operation.is_none());
    next.state = state;
    next.operation = has_sandbox.then_some(Operation::Exiting);
    next.intent = None;
    next.finished_at = Some(at);
    next.wake_at = None;
    next.deadline_at = None;
    next.timeout_left_ms = None;
    let mut effects = Vec::new();
    if has_sandbox {
        effects.push(Effect::Destroy {
            generation: job.generation,
        });
    }
    if state != State::Failed && job.generation > 0 {
        // Nothing will be restored from them. Those of a failed job stay, to look into.
        next.checkpoint = None;
        effects.push(Effect::DropCheckpoints { keep: None });
    }
    let event = match state {
        State::Completed => "completed",
        State::Cancelled => "cancelled",
        _ => "failed",
    };
    let detail = match (&outcome.reason, &outcome.message) {
        (Some(reason), Some(message)) => Some(format!("{}: {message}", reason.name())),
        (Some(reason), None) => Some(reason.name().to_owned()),
        (None, message) => message.clone(),
    };
    next.outcome = Some(outcome);
    let mut movement = movement(next, event, effects);
    movement.detail = detail;
    movement
}

fn lost(job: &Job, out_of_memory: bool, rebooted: bool, at: Timestamp) -> Verdict {
    let failed = |reason, message: &str| {
        let outcome = Outcome {
            reason: Some(reason),
            message: Some(message.to_owned()),
            ..Outcome::default()
        };
        Verdict::Move(terminal(job, (State::Failed, outcome), at))
    };
    if out_of_memory {
        return failed(
            Reason::OutOfMemory,
            "its sandbox was killed at the memory limit",
        );
    }
    if job.operation == Some(Operation::Waking) {
        // It was safe on disk and still is.
        return restore_failed(job, "its sandbox vanished while it was waking", false, at);
    }
    let Some(checkpoint) = job.checkpoint.clone() else {
        return failed(
            Reason::Lost,
            "its sandbox vanished and there was no checkpoint",
        );
    };
    if job.restores_in_a_row >= RESTORES_IN_A_ROW_MAX && !rebooted {
        return failed(
            Reason::Lost,
            "its sandbox vanished again and again without reaching another checkpoint",
        );
    }
    let mut next = next(job);
    next.operation = Some(Operation::Restarting);
    next.intent = None;
    next.generation += 1;
    next.restores += 1;
    if !rebooted {
        next.attempt += 1;
        next.restores_in_a_row += 1;
    }
    next.timeout_left_ms = job
        .deadline_at
        .map_or(job.timeout_left_ms, |deadline| Some(deadline.since(at)));
    next.deadline_at = None;
    let effects = vec![
        Effect::Destroy {
            generation: job.generation,
        },
        Effect::Restore {
            checkpoint: checkpoint.clone(),
            after_loss: true,
        },
    ];
    let mut movement = movement(next, "lost", effects);
    movement.detail = Some(format!("restoring checkpoint {checkpoint}"));
    movement.forget_requested_tokens = true;
    Verdict::Move(movement)
}

fn restore_failed(job: &Job, message: &str, bad_image: bool, at: Timestamp) -> Verdict {
    let asked = matches!(job.intent, Some(Intent::Wake { asked: true }));
    let was_suspended = job.operation == Some(Operation::Waking);
    if was_suspended && (asked || !bad_image) {
        // Nothing is lost: it stays suspended. Who asked is told; otherwise it is tried again later.
        let mut next = next(job);
        next.intent = None;
        next.operation = Some(Operation::Suspending);
        next.wake_at = if asked {
            job.wake_at
        } else {
            Some(at.plus_ms(WAKE_RETRY_MS))
        };
        next.last_error = Some(message.to_owned());
        let mut movement = movement(
            next,
            "wake_failed",
            vec![Effect::Destroy {
                generation: job.generation,
            }],
        );
        movement.detail = Some(message.to_owned());
        return Verdict::Move(movement);
    }
    let outcome = Outcome {
        reason: Some(Reason::RestoreFailed),
        message: Some(message.to_owned()),
        ..Outcome::default()
    };
    Verdict::Move(terminal(job, (State::Failed, outcome), at))
}
