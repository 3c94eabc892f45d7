//! Each kind of write as rows of a plan.

use super::import::{access, definition_row};
use super::plan::{Apart, Plan, row};
use super::sql::write as sql;
use crate::record::{
    CommitRow, NewRow, QueueWrite, ScheduleRow, ScheduleWrite, Upkeep, Write, json, labels, limit,
    signed, token_columns,
};
use dauer_core::{Forget, JobId, Json, Kept};

/// What is not about one job is written one after the other.
pub(super) const ALL: &str = "";

impl<'a> Plan<'a> {
    /// Takes a write. Where it cannot be written with the others, nothing of the plan is good any more.
    pub(super) fn take(&mut self, write: &'a Write) -> Result<(), Apart> {
        match write {
            Write::Create(jobs) => jobs.iter().try_for_each(|new| self.create(new)),
            // What is there already has to be known first.
            Write::Import(_) => Err(Apart),
            Write::Begin { new, changes } => {
                new.iter().try_for_each(|new| self.create(new))?;
                changes.iter().try_for_each(|change| self.commit(change))
            }
            Write::Commit(commit) => self.commit(commit),
            Write::Remove { id, version } => self.remove(id.as_str(), *version),
            Write::DropCheckpoint(drop) => {
                for statement in [
                    &sql::LOCK_CHECKPOINTS,
                    &sql::CHECK_NOT_POINTED_TO,
                    &sql::DELETE_CHECKPOINTS,
                ] {
                    for name in drop.names() {
                        self.put(ALL, statement, row![drop.job.as_str(), name]);
                    }
                }
                Ok(())
            }
            Write::Snapshot(write) => {
                self.snapshot(write);
                Ok(())
            }
            Write::Cache(write) => {
                self.cache(write);
                Ok(())
            }
            Write::Define(definition) => {
                self.put(ALL, &sql::INSERT_DEFINITIONS, definition_row(definition));
                Ok(())
            }
            Write::Undefine(id) => {
                self.put(ALL, &sql::DELETE_DEFINITIONS, row![&id.name, &id.version]);
                Ok(())
            }
            Write::AddAccess(token) => {
                self.changes_settings = true;
                self.put(ALL, &sql::INSERT_ACCESS, access(token));
                Ok(())
            }
            Write::AccessUsed { id, at } => {
                self.put(ALL, &sql::ACCESS_USED, row![id, at.0]);
                Ok(())
            }
            Write::RemoveAccess(id) => {
                self.changes_settings = true;
                self.put(ALL, &sql::DELETE_ACCESS, row![id]);
                Ok(())
            }
            Write::Schedule(write) => self.schedule(write),
            Write::Queue(write) => {
                self.queue(write);
                Ok(())
            }
            Write::Audited(write, audit) => {
                self.take(write)?;
                self.audit(audit);
                Ok(())
            }
            Write::ForgetRecords {
                before,
                limit: most,
            } => {
                for statement in [&sql::FORGET_JOURNAL, &sql::FORGET_AUDIT] {
                    self.put(ALL, statement, row![before.0, limit(*most)]);
                }
                Ok(())
            }
            Write::Upkeep(Upkeep::Prune { before, about }) => {
                self.put(ALL, &sql::PRUNE_LEDGER, row![before.0, limit(*about)]);
                Ok(())
            }
            Write::Upkeep(Upkeep::Heartbeat(at)) => {
                let node = self.node().unwrap_or_default();
                self.put(ALL, &sql::PUT_HEARTBEAT, row![node, at.0]);
                Ok(())
            }
        }
    }

    fn create(&mut self, new: &'a NewRow) -> Result<(), Apart> {
        self.add(new)?;
        if let Some(shares) = &new.shares {
            self.share(new.row.id.as_str(), shares);
        }
        self.put_beside(new);
        Ok(())
    }

    /// What of a new job stands in other tables than its own.
    pub(super) fn put_beside(&mut self, new: &'a NewRow) {
        let id = new.row.id.as_str();
        for (key, value) in &new.tags {
            self.put(id, &sql::INSERT_TAGS, row![key, value, id]);
        }
        for after in &new.queued.blocked_by {
            self.put(id, &sql::INSERT_FOLLOWERS, row![after.as_str(), id]);
        }
        if let Some((key, digest)) = &new.key {
            self.put(id, &sql::INSERT_REQUEST_KEYS, row![key, id, digest]);
        }
    }

    fn commit(&mut self, commit: &'a CommitRow) -> Result<(), Apart> {
        self.change(commit)?;
        let id = commit.row.id.as_str();
        if let Some(checkpoint) = &commit.checkpoint {
            let row = row![&checkpoint.name, id, &checkpoint.record];
            self.put(id, &sql::PUT_CHECKPOINTS, row);
        }
        // Before the token of this very change.
        match commit.forget_tokens {
            Forget::None => {}
            Forget::Requested => self.put(id, &sql::FORGET_REQUESTED_TOKENS, row![id]),
            Forget::All => self.put(id, &sql::FORGET_TOKENS, row![id]),
        }
        if let Some(token) = &commit.token {
            let (status, checkpoint, message) = token_columns(&token.status);
            let row = row![
                id,
                &token.token,
                token.generation,
                status,
                checkpoint,
                message
            ];
            self.put(id, &sql::PUT_TOKENS, row);
        }
        for kept in &commit.kept {
            self.keep(&commit.row.id, kept);
        }
        Ok(())
    }

    fn keep(&mut self, job: &'a JobId, kept: &'a Kept) {
        let id = job.as_str();
        match kept {
            Kept::Output(Json(output)) => self.put(id, &sql::PUT_OUTPUTS, row![id, output]),
            Kept::Signal(signal) => {
                let row = row![
                    id,
                    &signal.id,
                    &signal.name,
                    &signal.payload.0,
                    signal.sent_at.0
                ];
                self.put(id, &sql::INSERT_SIGNALS, row);
            }
            Kept::SignalTaken { signal, token } => {
                self.put(id, &sql::TAKE_SIGNALS, row![id, signal, token]);
            }
            Kept::SignalsSealed => self.put(id, &sql::SEAL_SIGNALS, row![id]),
            Kept::SignalsFreed => self.put(id, &sql::FREE_SIGNALS, row![id]),
            Kept::BegunAnew => {
                for forget in [
                    &sql::DELETE_OUTPUTS,
                    &sql::FREE_ALL_SIGNALS,
                    &sql::DELETE_WAITS,
                ] {
                    self.put(id, forget, row![id]);
                }
            }
            Kept::Wait(wait) => {
                let row = row![id, &wait.token, wait.give_up_at.0, wait.timed_out];
                self.put(id, &sql::PUT_WAITS, row);
            }
            Kept::Described { tags, metadata } => {
                self.put(
                    id,
                    &sql::DESCRIBE_JOBS,
                    row![id, json(tags), json(metadata)],
                );
                self.put(id, &sql::DELETE_TAGS, row![id]);
                for (key, value) in tags {
                    self.put(id, &sql::INSERT_TAGS, row![key, value, id]);
                }
            }
            Kept::Opened(interval) => {
                let row = row![
                    interval.owner.kind.name(),
                    &interval.owner.id,
                    interval.generation,
                    interval.kind.name(),
                    interval.amount,
                    interval.from.0,
                    &interval.cause,
                    labels(&interval.labels),
                ];
                self.put(id, &sql::OPEN_INTERVALS, row);
            }
            Kept::Closed(closing) => {
                let row = row![
                    closing.owner.kind.name(),
                    &closing.owner.id,
                    closing.kind.name(),
                    closing.to.0,
                    closing.used.map(signed),
                    &closing.closed_by,
                ];
                self.put(id, &sql::CLOSE_INTERVALS, row);
            }
            Kept::Relabelled(relabelling) => {
                let owner = &relabelling.owner;
                let (kind, at) = (owner.kind.name(), relabelling.at.0);
                self.put(id, &sql::SPLIT_INTERVALS, row![kind, &owner.id, at]);
                let row = row![kind, &owner.id, at, labels(&relabelling.labels)];
                self.put(id, &sql::RELABEL_INTERVALS, row);
            }
            Kept::Unblocked { by } => self.put(id, &sql::DELETE_FOLLOWERS, row![by.as_str(), id]),
            Kept::Turn {
                turn,
                forget_before,
            } => {
                self.put(id, &sql::FORGET_TURNS, row![&turn.queue, forget_before.0]);
                self.put(
                    id,
                    &sql::INSERT_TURNS,
                    row![&turn.queue, &turn.key, turn.at.0],
                );
            }
        }
    }

    fn schedule(&mut self, write: &'a ScheduleWrite) -> Result<(), Apart> {
        let columns = |row: &'a ScheduleRow| {
            row![
                &row.name,
                row.version,
                row.due_at.map(|at| at.0),
                &row.record
            ]
        };
        self.makes_work = true;
        match write {
            ScheduleWrite::Add(row) => self.put(ALL, &sql::INSERT_SCHEDULES, columns(row)),
            ScheduleWrite::Change { row, jobs } => {
                self.put(ALL, &sql::UPDATE_SCHEDULES, columns(row));
                jobs.iter().try_for_each(|new| self.create(new))?;
            }
            ScheduleWrite::Remove(name) => self.put(ALL, &sql::DELETE_SCHEDULES, row![name]),
        }
        Ok(())
    }

    fn queue(&mut self, write: &'a QueueWrite) {
        let node = self.node();
        match write {
            QueueWrite::Set { name, settings } => {
                (self.makes_work, self.changes_settings) = (true, true);
                self.put(ALL, &sql::PUT_QUEUES, row![name, settings]);
            }
            QueueWrite::Remove(name) => {
                (self.makes_work, self.changes_settings) = (true, true);
                self.put(ALL, &sql::DELETE_QUEUES, row![name]);
            }
            QueueWrite::DaemonStarted(at) => {
                self.put(ALL, &sql::INSERT_DAEMON, row![node, at.0]);
            }
            QueueWrite::DaemonCompleted => self.put(ALL, &sql::DAEMON_COMPLETED, row![node]),
            QueueWrite::DaemonEndedWell => self.put(ALL, &sql::DAEMON_ENDED_WELL, row![node]),
        }
    }
}
