//! One step, from the question whether it was done before to the last thing that is cleared away.

use super::place::{Files, Place};
use super::turns::Turn;
use super::{Action, Executed, Executor, Exit, Policy, Sink, Slot, Source, check_key};
use crate::{Error, submit};
use dauer_core::{CheckpointId, Image, Snapshot, SnapshotKind};
use futures_util::FutureExt;
use std::panic::AssertUnwindSafe;

/// A step whose files are to be kept under a key, and the turn of that key.
struct Keyed {
    key: String,
    /// Held until the files are put away or thrown away.
    _turn: Turn,
}

impl Executor {
    /// Runs an action, or answers with what was kept of the same one: the key says what is the same. Of several with one key at once
    /// one runs, and the others are answered with what it leaves; where it leaves nothing the next one runs.
    ///
    /// Dropping this before it returns ends the step and clears it away.
    ///
    /// # Errors
    /// `StepTimedOut`; `NoSnapshot` where what it is to begin from is gone; those of making and running a sandbox. Nothing is kept then.
    pub async fn execute(
        &self,
        action: Action,
        policy: Policy,
        sink: &mut dyn Sink,
    ) -> Result<Executed, Error> {
        let Policy::Cache { key } = policy else {
            return self.work(&action, None, sink).await;
        };
        check_key(&key)?;
        if let Some(hit) = self.hit(&key).await? {
            return Ok(hit);
        }
        let turn = self.shared.turns.of(&key).await;
        // Whoever had the turn before may have put it there.
        if let Some(hit) = self.hit(&key).await? {
            return Ok(hit);
        }
        self.work(&action, Some(Keyed { key, _turn: turn }), sink)
            .await
    }

    async fn hit(&self, key: &str) -> Result<Option<Executed>, Error> {
        let now = self.shared.now();
        let Some((entry, hold)) = self.shared.registry.hit(key, now).await? else {
            return Ok(None);
        };
        self.run.answered(hold);
        Ok(Some(Executed {
            exit_code: entry.exit_code,
            snapshot: Some(entry.snapshot),
            cached: true,
            kept: true,
        }))
    }

    async fn work(
        &self,
        action: &Action,
        keyed: Option<Keyed>,
        sink: &mut dyn Sink,
    ) -> Result<Executed, Error> {
        let _begins_from = match &action.source {
            Source::Snapshot(snapshot) => Some(self.shared.held.hold(snapshot)),
            Source::Image(_) => None,
        };
        let slot = Slot {
            id: submit::random_id(),
            snapshot: CheckpointId(submit::random_id()),
        };
        // Before anything is made: whatever happens from here on, it is cleared.
        let place = Place::new(&self.shared, slot);
        let ran = AssertUnwindSafe(self.run_in(&place, action, sink));
        let ran = ran.catch_unwind().await;
        match ran.unwrap_or_else(|_panic| Err(panicked())) {
            Ok(Exit::Code(0)) => self.finish(place, keyed).await,
            Ok(Exit::Code(exit_code)) => {
                place.clear(Files::Go).await;
                Ok(Executed {
                    exit_code,
                    snapshot: None,
                    cached: false,
                    kept: false,
                })
            }
            Ok(Exit::TimedOut) => {
                place.clear(Files::Go).await;
                let after = action.timeout.unwrap_or_default();
                Err(Error::StepTimedOut { after })
            }
            Err(error) => {
                place.clear(Files::Go).await;
                Err(error)
            }
        }
    }

    async fn run_in(
        &self,
        place: &Place,
        action: &Action,
        sink: &mut dyn Sink,
    ) -> Result<Exit, Error> {
        let (slot, backend) = (place.slot(), &self.shared.backend);
        self.shared.registry.reserve(self.row(slot, action)).await?;
        match &action.source {
            Source::Image(_) => backend.create(slot, action).await?,
            Source::Snapshot(snapshot) => backend.restore(slot, action, snapshot).await?,
        }
        if let Some(folder) = &action.inject {
            backend.inject(slot, folder).await?;
        }
        backend.exec(slot, action, sink).await
    }

    fn row(&self, slot: &Slot, action: &Action) -> Snapshot {
        let driver = action.around.driver.clone().unwrap_or_default();
        let now = self.shared.now();
        let mut row = Snapshot::new(slot.snapshot.clone(), SnapshotKind::Disk, driver, now);
        row.ephemeral_of = Some(self.run.name.clone());
        (row.image, row.parent) = match &action.source {
            Source::Image(image) => (image.clone(), None),
            Source::Snapshot(snapshot) => (Image::default(), Some(snapshot.clone())),
        };
        row
    }

    /// What ended well is put away by a task of its own: it is not given up half way because nobody waits for it any more.
    async fn finish(&self, place: Place, keyed: Option<Keyed>) -> Result<Executed, Error> {
        let executor = self.clone();
        let finishing = self.shared.tasks.spawn(async move {
            let putting = AssertUnwindSafe(executor.put_away(place.slot(), keyed.as_ref()));
            let put = putting.catch_unwind().await;
            match put.unwrap_or_else(|_panic| Err(panicked())) {
                Ok(executed) => {
                    place.clear(Files::Stay).await;
                    Ok(executed)
                }
                Err(error) => {
                    place.clear(Files::Go).await;
                    Err(error)
                }
            }
            // The turn of the key is over only now.
        });
        match finishing.await {
            Ok(finished) => finished,
            Err(error) => Err(Error::Failed(format!(
                "keeping what the step left: {error}"
            ))),
        }
    }

    async fn put_away(&self, slot: &Slot, keyed: Option<&Keyed>) -> Result<Executed, Error> {
        let registry = &self.shared.registry;
        let taken = self.shared.backend.snapshot(slot).await?;
        let bytes = taken.bytes;
        registry.taken(&slot.snapshot, taken).await?;
        // Before it is put: from then on others may want its room.
        let hold = self.shared.held.hold(&slot.snapshot);
        let kept = match keyed {
            Some(keyed) => {
                let now = self.shared.now();
                registry.put(&keyed.key, &slot.snapshot, bytes, now).await?
            }
            None => false,
        };
        let executed = Executed {
            exit_code: 0,
            snapshot: Some(slot.snapshot.clone()),
            cached: false,
            kept,
        };
        if kept {
            self.run.answered(hold);
        } else {
            self.run.left(&executed);
        }
        Ok(executed)
    }
}

/// What was said of it is in the daemon's own log.
fn panicked() -> Error {
    Error::Failed("the step panicked".into())
}
