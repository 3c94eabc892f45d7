//! Moving everything from one store into another, empty one; killed at any moment and begun again it ends right.
//!
//! Each batch is one transaction of the target, together with the [`Mark`] that says how far it got. At the end the target is read
//! again from its beginning and compared with what was read from the source; only then the mark says that the move is done, and
//! only then a daemon begins on the target.

use super::{FORMAT, Mark, Page, Portable, Refusal, Section, Tallies, Tally, mark};
use crate::{Error, Filter, Store};
use dauer_core::{Job, JobId, State, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;

/// So many values are written at once.
pub const BATCH: usize = 1000;

/// So many jobs that are under way are named.
const NAMED_MAX: usize = 5;

/// A move from one store into another.
#[derive(Clone, Copy)]
pub struct Migration<'a> {
    /// The source, on which nobody works.
    pub from: &'a dyn Store,
    /// The target: empty, or with a part of this very move.
    pub to: &'a dyn Store,
    /// The source for people.
    pub name: &'a str,
    /// The moment.
    pub now: Timestamp,
    /// So many values are written at once: [`BATCH`].
    pub batch: usize,
}

/// How far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// It is compared, not copied.
    pub comparing: bool,
    /// Which part.
    pub section: Section,
    /// So many of it.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// What was moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Moved {
    /// The same in both stores.
    pub parts: Tallies,
    /// It was begun before and gone on with.
    pub resumed: bool,
}

impl Migration<'_> {
    /// Moves everything and tells how far it got. The source is only read. Errors: `Moving` with what to do; whatever a store
    /// says. After any of them, and after a crash, the same move goes on where it was.
    pub async fn run(self, tell: impl FnMut(Progress)) -> Result<Moved, Error> {
        self.check_nobody_works_on_them().await?;
        self.check_nothing_is_under_way().await?;
        self.move_all(true, tell).await
    }

    /// The same without looking at what jobs do.
    pub(crate) async fn run_whatever_is_under_way(
        self,
        tell: impl FnMut(Progress),
    ) -> Result<Moved, Error> {
        self.move_all(false, tell).await
    }

    async fn move_all(self, at_rest: bool, mut tell: impl FnMut(Progress)) -> Result<Moved, Error> {
        let source = known_by(self.from).await?;
        let begun = self.begun(&source).await?;
        let resumed = begun.is_some();
        let mut mark = begun.unwrap_or_else(|| Mark {
            format: FORMAT,
            from: self.name.to_owned(),
            source: source.clone(),
            began_at: self.now,
            section: Section::ALL[0],
            after: None,
            moved: Tallies::default(),
            done_at: None,
        });
        if mark.done_at.is_none() {
            self.copy(&mut mark, at_rest, &mut tell).await?;
        }
        let arrived = read(self.to, &mut tell).await?;
        if let Some((part, source_has, target_has)) = mark.moved.difference(&arrived) {
            return Err(Refusal::Differs {
                part,
                source_has,
                target_has,
            }
            .into());
        }
        if known_by(self.from).await? != source {
            return Err(Refusal::Changed.into());
        }
        if mark.done_at.is_none() {
            mark.done_at = Some(self.now);
            self.to
                .import(vec![Portable::Move(Box::new(mark.clone()))])
                .await?;
        }
        Ok(Moved {
            parts: mark.moved,
            resumed,
        })
    }

    async fn check_nobody_works_on_them(&self) -> Result<(), Error> {
        // What only one process may use is locked by it.
        for store in [self.from, self.to]
            .into_iter()
            .filter(|store| store.is_shared())
        {
            let mut leases = store.leases().await?.into_iter();
            if let Some(lease) = leases.find(|lease| !lease.has_run_out(self.now)) {
                let node = lease.node.0;
                return Err(Refusal::InUse { node }.into());
            }
        }
        Ok(())
    }

    async fn check_nothing_is_under_way(&self) -> Result<(), Error> {
        let running = Filter {
            states: vec![State::Running],
            limit: usize::MAX,
            ..Filter::default()
        };
        let mut ids: BTreeSet<JobId> = BTreeSet::new();
        for jobs in [self.from.list(running).await?, self.from.unsettled().await?] {
            let under_way = jobs.into_iter().filter(is_under_way);
            ids.extend(under_way.map(|job| job.id));
        }
        refuse(ids.into_iter().collect())
    }

    /// What this very move has done before.
    async fn begun(&self, source: &str) -> Result<Option<Mark>, Error> {
        match mark(self.to).await? {
            Some(mark) if mark.done_at.is_none() => {
                if mark.from != self.name || mark.format != FORMAT {
                    return Err(Refusal::OtherMove(mark.from).into());
                }
                if mark.source != source {
                    return Err(Refusal::Changed.into());
                }
                Ok(Some(mark))
            }
            // It ended, and whoever waited for it did not hear so. A daemon that began since is among what the target is known by.
            Some(mark) if mark.source == source && known_by(self.to).await? == source => {
                Ok(Some(mark))
            }
            Some(_) | None => {
                self.check_target_is_empty().await?;
                Ok(None)
            }
        }
    }

    async fn check_target_is_empty(&self) -> Result<(), Error> {
        for section in Section::ALL {
            // Somebody may have tried whether a daemon starts on it.
            if section == Section::Daemons {
                continue;
            }
            let page = self.to.export(section, None, 1).await?;
            if !page.values.is_empty() {
                return Err(Refusal::NotEmpty(section).into());
            }
        }
        Ok(())
    }

    async fn copy(
        &self,
        mark: &mut Mark,
        at_rest: bool,
        tell: &mut impl FnMut(Progress),
    ) -> Result<(), Error> {
        let reached = mark.section;
        let left = Section::ALL.into_iter();
        for section in left.skip_while(|section| *section != reached) {
            mark.section = section;
            let total = total(self.from, section).await?;
            let mut page = self
                .from
                .export(section, mark.after.as_deref(), self.batch)
                .await?;
            loop {
                let Page { values, next, .. } = page;
                if at_rest {
                    // Those that other nodes hold were not among the unsettled ones.
                    refuse(values.iter().filter_map(under_way).collect())?;
                }
                values.iter().for_each(|value| mark.moved.add(value));
                mark.after.clone_from(&next);
                match (&next, following(section)) {
                    (None, Some(following)) => mark.section = following,
                    // All of it is here.
                    (None, None) => mark.section = Section::Move,
                    (Some(_), _) => {}
                }
                let mut batch = values;
                batch.push(Portable::Move(Box::new(mark.clone())));
                let write = self.to.import(batch);
                // The next page is read while this one is written.
                let read = async {
                    match &next {
                        Some(after) => self
                            .from
                            .export(section, Some(after), self.batch)
                            .await
                            .map(Some),
                        None => Ok(None),
                    }
                };
                let (written, following) = tokio::join!(write, read);
                written?;
                let moved = mark.moved.0.get(section.name());
                tell(Progress {
                    comparing: false,
                    section,
                    done: moved.map_or(0, |tally| tally.count),
                    total,
                });
                match following? {
                    Some(following) => page = following,
                    None => break,
                }
            }
        }
        Ok(())
    }
}

/// Only the daemon can bring to an end what is under way, and what runs is known to the old store only.
fn is_under_way(job: &Job) -> bool {
    job.operation.is_some() || job.state == State::Running
}

fn under_way(value: &Portable) -> Option<JobId> {
    match value {
        Portable::Job(moved) => Some(&moved.job)
            .filter(|job| is_under_way(job))
            .map(|job| job.id.clone()),
        Portable::Definition(_)
        | Portable::Entry(_)
        | Portable::Audit(_)
        | Portable::Interval(_)
        | Portable::Schedule(_)
        | Portable::Snapshot(_)
        | Portable::Cached(_)
        | Portable::Queue(_)
        | Portable::Turns { .. }
        | Portable::Access(_)
        | Portable::Daemons { .. }
        | Portable::Move(_) => None,
    }
}

fn refuse(under_way: Vec<JobId>) -> Result<(), Error> {
    if under_way.is_empty() {
        return Ok(());
    }
    Err(Refusal::UnderWay {
        count: under_way.len(),
        first: under_way.into_iter().take(NAMED_MAX).collect(),
    }
    .into())
}

fn following(section: Section) -> Option<Section> {
    let mut all = Section::ALL.into_iter();
    all.find(|one| *one == section)?;
    all.next()
}

async fn total(store: &dyn Store, section: Section) -> Result<u64, Error> {
    let page = store.export(section, None, 0).await?;
    Ok(page.total.unwrap_or(0))
}

/// What tells a store apart from every other, and from itself after a daemon worked on it: when its daemons began and ended.
async fn known_by(store: &dyn Store) -> Result<String, Error> {
    let mut tally = Tallies::default();
    let page = store.export(Section::Daemons, None, 1).await?;
    page.values.iter().for_each(|value| tally.add(value));
    let daemons = tally.0.get(Section::Daemons.name()).copied();
    Ok(daemons.unwrap_or_else(Tally::default).digest())
}

/// Everything that a store has, added up.
async fn read(store: &dyn Store, tell: &mut impl FnMut(Progress)) -> Result<Tallies, Error> {
    let mut tallies = Tallies::default();
    for section in Section::ALL {
        let total = total(store, section).await?;
        let mut after = None;
        let mut done = 0;
        loop {
            let page = store.export(section, after.as_deref(), BATCH).await?;
            page.values.iter().for_each(|value| tallies.add(value));
            done += u64::try_from(page.values.len()).unwrap_or(u64::MAX);
            tell(Progress {
                comparing: true,
                section,
                done,
                total,
            });
            after = page.next;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(tallies)
}
