//! A second, simpler store of ordered maps, to which random writes are compared.

use super::beside::Beside;
use super::sample;
use crate::{Change, Entry, Error, NewEntry, Store};
use dauer_core::{
    Checkpoint, CheckpointId, EndsChildren, Forget, Job, JobId, Operation, Priority, SandboxId,
    State, Timestamp, Token, TokenStatus,
};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const JOBS: u64 = 16;
const CHECKPOINTS_PER_JOB: u64 = 4;
pub(super) const NAMES: u64 = 4;
pub(super) const TOKENS: [&str; 2] = ["first", "second"];

/// One write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A job that may be there, with a name that may be in use.
    Create {
        /// Which job.
        job: u64,
        /// Which name.
        name: Option<u64>,
    },
    /// A change of a job that may not be there, at a version that may be wrong.
    Commit {
        /// Which job.
        job: u64,
        /// What its version is off by.
        version_off: i64,
        /// Everything else, drawn from these bits.
        bits: u64,
    },
    /// Of a checkpoint that may be unknown or in use.
    DropCheckpoint {
        /// Of which job.
        job: u64,
        /// Which of its.
        checkpoint: u64,
    },
    /// Of a job that may not be there, not terminal, or of another version.
    Remove {
        /// Which job.
        job: u64,
        /// What its version is off by.
        version_off: i64,
    },
}

/// Pseudo-random numbers (SplitMix64), the same ones for the same seed.
pub fn numbers(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// Takes small numbers off a large one.
struct Bits(u64);

impl Bits {
    fn below(&mut self, limit: u64) -> u64 {
        let drawn = self.0 % limit;
        self.0 /= limit;
        drawn
    }
}

impl Op {
    /// The write that this number stands for.
    #[must_use]
    pub fn of(number: u64) -> Self {
        let mut bits = Bits(number);
        let (kind, job) = (bits.below(16), bits.below(JOBS));
        let version_off = [0, 0, 0, 0, 0, 0, -1, 1][usize::try_from(bits.below(8)).unwrap_or(0)];
        match kind {
            0 | 1 => Self::Create {
                job,
                name: Some(bits.below(2 * NAMES)).filter(|name| *name < NAMES),
            },
            2 => Self::DropCheckpoint {
                job,
                checkpoint: bits.below(CHECKPOINTS_PER_JOB),
            },
            3 | 4 => Self::Remove { job, version_off },
            _ => Self::Commit {
                job,
                version_off,
                bits: bits.0,
            },
        }
    }
}

/// What the store should hold.
#[derive(Debug, Default)]
pub struct Model {
    pub(super) jobs: BTreeMap<JobId, Job>,
    /// In the order of their commits.
    pub(super) checkpoints: Vec<Checkpoint>,
    pub(super) tokens: BTreeMap<(JobId, String), Token>,
    /// In the order of commits; all with number 0, because a back end may leave gaps.
    pub(super) journal: Vec<Entry>,
    pub(super) beside: Beside,
}

impl Model {
    /// Does the same to the store and to the model. Panics if they answer differently.
    pub async fn write(&mut self, store: &dyn Store, op: &Op) {
        let (expected, answered) = match *op {
            Op::Create { job, name } => {
                let number = usize::try_from(job).unwrap_or(0);
                let mut job =
                    sample::named(job, name.map(|name| format!("name-{name}")).as_deref());
                job.spec_mut().priority = Priority::ALL[number % 4];
                let entry = sample::entry("created");
                (self.create(&job, &entry), store.create(job, entry).await)
            }
            Op::Commit {
                job,
                version_off,
                bits,
            } => {
                let change = self.change(&sample::id(job), version_off, Bits(bits));
                (self.commit(&change), store.commit(change).await)
            }
            Op::DropCheckpoint { job, checkpoint } => {
                let id = checkpoint_id(job, checkpoint);
                let job = sample::id(job);
                (
                    self.drop_checkpoint(&job, &id),
                    store.drop_checkpoint(&job, &id).await,
                )
            }
            Op::Remove { job, version_off } => {
                let id = sample::id(job);
                let version = self
                    .jobs
                    .get(&id)
                    .map_or(1, |job| job.version)
                    .saturating_add_signed(version_off);
                (
                    self.remove(&id, version),
                    store
                        .remove(&id, version, sample::audit("job_removed"))
                        .await,
                )
            }
        };
        assert_eq!(format!("{answered:?}"), format!("{expected:?}"), "{op:?}");
    }

    /// A change of this job as the bits have it.
    fn change(&self, id: &JobId, version_off: i64, mut bits: Bits) -> Change {
        let mut job = self.jobs.get(id).cloned().unwrap_or_else(|| Job {
            id: id.clone(),
            ..sample::job(0)
        });
        let number = (0..JOBS).find(|n| sample::id(*n) == *id).unwrap_or(0);
        let from = job.state;
        job.version = (job.version + 1).saturating_add_signed(version_off);
        job.state = State::ALL[usize::try_from(bits.below(9)).unwrap_or(0)];
        job.operation = [
            None,
            None,
            Some(Operation::Suspending),
            Some(Operation::Exiting),
        ][usize::try_from(bits.below(4)).unwrap_or(0)];
        job.wake_at = [
            None,
            Some(Timestamp(10)),
            Some(Timestamp(20)),
            Some(Timestamp(30)),
        ][usize::try_from(bits.below(4)).unwrap_or(0)];
        job.expires_at = [None, Some(Timestamp(15)), Some(Timestamp(25))]
            [usize::try_from(bits.below(3)).unwrap_or(0)];
        job.ends_children = [None, Some(false), Some(true)]
            [usize::try_from(bits.below(3)).unwrap_or(0)]
        .map(|done| EndsChildren {
            grace_ms: None,
            done,
        });
        job.sandbox = Some(bits.below(3))
            .filter(|sandbox| *sandbox > 0)
            .map(|sandbox| sandbox_id(number, sandbox));
        job.generation += u32::try_from(bits.below(2)).unwrap_or(0);
        let image = Checkpoint {
            id: checkpoint_id(number, bits.below(CHECKPOINTS_PER_JOB)),
            ..sample::checkpoint(&job, bits.below(1000))
        };
        let checkpoint = match bits.below(6) {
            0 | 1 => {
                job.checkpoint = Some(image.id.clone());
                Some(image)
            }
            2 => Some(image),
            3 => {
                job.checkpoint = None;
                None
            }
            _ => None,
        };
        let status = match bits.below(6) {
            0 | 1 => Some(TokenStatus::Requested),
            2 => Some(TokenStatus::Done {
                checkpoint: checkpoint_id(number, 0),
            }),
            3 => Some(TokenStatus::Failed {
                message: "no".into(),
            }),
            _ => None,
        };
        let token = TOKENS[usize::try_from(bits.below(2)).unwrap_or(0)].to_owned();
        Change {
            token: status.map(|status| Token {
                job: id.clone(),
                token,
                generation: job.generation,
                status,
            }),
            forget_tokens: [Forget::None, Forget::None, Forget::Requested, Forget::All]
                [usize::try_from(bits.below(4)).unwrap_or(0)],
            entry: Some(NewEntry {
                from: Some(from),
                ..sample::entry("changed")
            })
            .filter(|_| bits.below(8) > 0),
            kept: self.beside.drawn(id, bits.0),
            checkpoint,
            job: Arc::new(job),
        }
    }

    fn create(&mut self, job: &Job, entry: &NewEntry) -> Result<(), Error> {
        if let Some(there) = self.jobs.get(&job.id) {
            return Err(Error::Conflict {
                job: job.id.clone(),
                expected: 0,
                found: there.version,
            });
        }
        if let Some(name) = &job.spec.name
            && let Some(holder) = self
                .jobs
                .values()
                .find(|other| other.spec.name.as_ref() == Some(name))
        {
            return Err(Error::NameInUse {
                name: name.clone(),
                job: holder.id.clone(),
            });
        }
        self.put(job, Some(entry));
        Ok(())
    }

    fn commit(&mut self, change: &Change) -> Result<(), Error> {
        self.check(&change.job.id, change.job.version.wrapping_sub(1))?;
        if let Some(checkpoint) = &change.checkpoint {
            match self
                .checkpoints
                .iter_mut()
                .find(|known| known.id == checkpoint.id)
            {
                Some(known) => *known = checkpoint.clone(),
                None => self.checkpoints.push(checkpoint.clone()),
            }
        }
        self.tokens.retain(|(job, _), token| {
            let forgotten = match change.forget_tokens {
                Forget::None => false,
                Forget::Requested => token.status == TokenStatus::Requested,
                Forget::All => true,
            };
            *job != change.job.id || !forgotten
        });
        if let Some(token) = &change.token {
            self.tokens
                .insert((token.job.clone(), token.token.clone()), token.clone());
        }
        for kept in &change.kept {
            self.beside.put(&change.job.id, kept);
        }
        self.put(&change.job, change.entry.as_ref());
        Ok(())
    }

    fn check(&self, id: &JobId, expected: u64) -> Result<&Job, Error> {
        let job = self
            .jobs
            .get(id)
            .ok_or_else(|| Error::NotFound(id.0.clone()))?;
        if job.version != expected {
            return Err(Error::Conflict {
                job: id.clone(),
                expected,
                found: job.version,
            });
        }
        Ok(job)
    }

    fn put(&mut self, job: &Job, entry: Option<&NewEntry>) {
        self.jobs.insert(job.id.clone(), job.clone());
        let Some(entry) = entry else { return };
        let NewEntry {
            at,
            event,
            from,
            detail,
            by,
            why,
        } = entry.clone();
        let operation = job.operation.map(|operation| operation.name().to_owned());
        let (to, generation) = (job.state, job.generation);
        self.journal.push(Entry {
            seq: 0,
            job: job.id.clone(),
            at,
            event: event.into_owned(),
            from,
            to,
            operation,
            generation,
            detail,
            by: by.map(Cow::into_owned),
            why,
        });
    }

    fn drop_checkpoint(&mut self, job: &JobId, id: &CheckpointId) -> Result<(), Error> {
        if let Some(job) = self.jobs.get(job)
            && job.checkpoint.as_ref() == Some(id)
        {
            return Err(Error::Conflict {
                job: job.id.clone(),
                expected: 0,
                found: job.version,
            });
        }
        self.checkpoints
            .retain(|checkpoint| checkpoint.id != *id || checkpoint.job != *job);
        Ok(())
    }

    fn remove(&mut self, id: &JobId, version: u64) -> Result<(), Error> {
        let job = self.check(id, version)?;
        if !job.state.is_terminal() {
            return Err(Error::Conflict {
                job: id.clone(),
                expected: version,
                found: version,
            });
        }
        self.jobs.remove(id);
        self.checkpoints.retain(|checkpoint| checkpoint.job != *id);
        self.tokens.retain(|(job, _), _| job != id);
        self.beside.remove(id);
        self.journal.retain(|entry| entry.job != *id);
        Ok(())
    }
}

fn checkpoint_id(job: u64, checkpoint: u64) -> CheckpointId {
    CheckpointId(format!("{job:08x}{checkpoint:08x}"))
}

fn sandbox_id(job: u64, sandbox: u64) -> SandboxId {
    SandboxId(format!("{job:08x}{sandbox:08x}"))
}
