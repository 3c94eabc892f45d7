//! What happens to a job, with a daemon that may die in the middle, and without one.

use super::super::inbox::signal;
use super::{Body, Died, Simulation};
use dauer_core::*;

impl Simulation {
    /// Something happens; the daemon may die in the middle of it.
    pub(crate) fn happen(&mut self, what: u8) -> Result<(), Died> {
        let generation = self.store.job.generation;
        let alive = self.world.sandboxes.get(&generation).cloned();
        self.ids += 1;
        // Time passes, now more, now less.
        self.at += i64::from(what / 16);
        let checkpoint = CheckpointId(format!("c{}", self.ids));
        match (what % 16, alive) {
            (0..=2, Some((Body::Running, mut memory))) => {
                memory.count += 1;
                self.store.bill.wrote(generation, self.at);
                self.world
                    .sandboxes
                    .insert(generation, (Body::Running, memory));
                Ok(())
            }
            (10 | 11, _) => {
                let sent = signal(&self.store.job, self.ids);
                self.apply(None, EventKind::SignalSent(sent))
            }
            (12 | 13, Some((Body::Running, memory))) => {
                let token = memory
                    .waits_with
                    .unwrap_or_else(|| format!("t{}", self.ids));
                self.wait_for_signal(generation, token)
            }
            (14, Some((Body::Running, _))) => {
                let held = self.store.job.locks.first().map(|lock| lock.id.clone());
                let event = match held {
                    Some(id) => EventKind::LockReleased { id },
                    None => EventKind::LockAsked(Lock {
                        id: format!("l{}", self.ids),
                        expires_at: None,
                    }),
                };
                self.apply(Some(generation), event)
            }
            (15, Some((Body::Running, _))) if what > 200 => {
                let exit = EventKind::ExitAsked {
                    exit_code: 0,
                    output: Some(Json(self.ids.to_string())),
                };
                self.apply(Some(generation), exit)
            }
            (15, _) => self.apply(None, EventKind::GraceOver),
            (3, _) => self.apply(
                None,
                EventKind::CheckpointAsked {
                    checkpoint,
                    token: None,
                    then: Then::Continue,
                },
            ),
            (4, _) => {
                // The runner sleeps for a signal only where none is there.
                let waits_for =
                    (what > 128 && !self.store.inbox.anything_waits()).then(|| "go".to_owned());
                let then = Then::Suspend {
                    wake_at: None,
                    waits_for,
                };
                self.apply(
                    None,
                    EventKind::CheckpointAsked {
                        checkpoint,
                        token: None,
                        then,
                    },
                )
            }
            (5 | 6, _) => self.apply(
                None,
                EventKind::Wake {
                    asked: what.is_multiple_of(2),
                    boot_id: self.boot(),
                },
            ),
            (7, Some(_)) => {
                self.world.sandboxes.remove(&generation);
                self.store.bill.ended(generation, self.at, true);
                self.losses += 1;
                let lost = Ended::Lost {
                    out_of_memory: false,
                    rebooted: None,
                };
                // Half of the time the shim dies with it and leaves no record.
                if what.is_multiple_of(2) {
                    self.world.exits.insert(generation, lost.clone());
                }
                self.apply(Some(generation), EventKind::Ended(lost))
            }
            (8, Some((Body::Running, _))) if what > 160 => {
                self.world.sandboxes.remove(&generation);
                self.store.bill.ended(generation, self.at, true);
                let ended = Ended::Exited {
                    code: Some(i32::from(what % 32 == 8)),
                    signal: None,
                    out_of_memory: false,
                };
                self.world.exits.insert(generation, ended.clone());
                self.apply(Some(generation), EventKind::Ended(ended))
            }
            (9, _) if (50..=120).contains(&what) => {
                self.store.bill.beat(self.at);
                Ok(())
            }
            (9, _) if what < 50 => self.apply(None, EventKind::RetryAsked),
            (9, _) if what > 200 => self.apply(
                None,
                EventKind::EndAsked {
                    end: End::Stop,
                    grace_ms: Some(0),
                    children: what > 230,
                },
            ),
            _ => Ok(()),
        }
    }

    /// While no daemon runs, a sandbox may go on, end (its shim writes it down), or vanish with its shim or with the whole machine.
    pub(crate) fn happen_without_a_daemon(&mut self, what: u8) {
        self.at += i64::from(what / 8);
        let generation = self.store.job.generation;
        let Some((body, mut memory)) = self.world.sandboxes.get(&generation).cloned() else {
            return;
        };
        match (what % 8, body) {
            (0, _) => {
                self.world.sandboxes.remove(&generation);
                self.store.bill.ended(generation, self.at, false);
                self.losses += 1;
            }
            (5, _) => {
                for (generation, _) in std::mem::take(&mut self.world.sandboxes) {
                    self.store.bill.ended(generation, self.at, false);
                }
                self.reboots += 1;
            }
            (1, Body::Running) => {
                self.world.sandboxes.remove(&generation);
                self.store.bill.ended(generation, self.at, true);
                self.world.exits.insert(
                    generation,
                    Ended::Exited {
                        code: Some(0),
                        signal: None,
                        out_of_memory: false,
                    },
                );
            }
            (2..=4, Body::Running) => {
                memory.count += 1;
                self.store.bill.wrote(generation, self.at);
                self.world.sandboxes.insert(generation, (body, memory));
            }
            _ => {}
        }
    }

    /// The program waits, or its agent asks again with the same key. What it is given it hears after the commit, or never.
    fn wait_for_signal(&mut self, generation: u32, token: String) -> Result<(), Died> {
        let Some((_, memory)) = self.world.sandboxes.get_mut(&generation) else {
            return Ok(());
        };
        memory.waits_with = Some(token.clone());
        let inbox = &self.store.inbox;
        if inbox.taken_by(&token).is_none() {
            let Some(id) = inbox.next_for(&token) else {
                return Ok(());
            };
            let taken = EventKind::SignalTaken {
                signal: id.to_string(),
                name: "go".into(),
                token: token.clone(),
            };
            self.apply(Some(generation), taken)?;
        }
        self.line()?;
        let taken = self.store.inbox.taken_by(&token);
        if let Some((Body::Running, memory)) = self.world.sandboxes.get_mut(&generation)
            && let Some(id) = taken
        {
            memory.took.push(id);
            memory.waits_with = None;
        }
        Ok(())
    }
}
