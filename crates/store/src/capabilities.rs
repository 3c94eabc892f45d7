//! What a store promises, so that what needs more can be refused instead of hoped for.

use crate::error::failed;
use crate::{Error, Store};

/// What an acknowledged write survives, and what the store can do beside keeping it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// What an acknowledged write survives on the machine that keeps it.
    pub durable: Durable,
    /// It also survives that another copy of the store takes over. Where it does not, the newest writes may be taken back then.
    pub failover_safe: bool,
    /// Whoever opened it accepts that a crash of the store takes back everything, where it does.
    pub volatile_accepted: bool,
}

/// What an acknowledged write survives, from the most to the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durable {
    /// A crash of the machine.
    Always,
    /// A crash of the machine takes back no more than about so much.
    UpTo {
        /// Milliseconds before the crash.
        ms: u64,
    },
    /// A crash of the process that keeps it. One of the machine takes back what its operating system had not written yet.
    Process,
    /// No crash: what is kept is gone with the process that keeps it, or goes back to its last copy.
    Nothing,
}

impl Capabilities {
    /// What a crash takes back, for a person; nothing where it takes back nothing.
    #[must_use]
    pub fn loss(&self) -> Option<String> {
        match self.durable {
            Durable::Always => None,
            Durable::UpTo { ms } => Some(format!(
                "a crash of the store's machine may take back the last {} s of what was acknowledged",
                ms.div_ceil(1000)
            )),
            Durable::Process => Some(
                "a crash of the store's machine may take back the last half minute or more of what was acknowledged"
                    .into(),
            ),
            Durable::Nothing => {
                Some("a crash of the store takes back everything since its last copy".into())
            }
        }
    }
}

/// Errors: `Backend` where the store keeps nothing over a crash, and nobody said that this is meant.
pub fn check_keeps(store: &dyn Store) -> Result<(), Error> {
    let Capabilities {
        durable,
        volatile_accepted,
        ..
    } = store.capabilities();
    if durable != Durable::Nothing || volatile_accepted {
        return Ok(());
    }
    let why = "the server of the store writes no append-only file, so that every job is lost when it ends: set `appendonly yes` in \
               its configuration, or add `?volatile=accept` to the address of the store";
    Err(failed(why, None))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_in_memory_is_meant_to_lose_everything() {
        let store = crate::Sqlite::memory().unwrap();
        assert_eq!(store.capabilities().durable, Durable::Nothing);
        check_keeps(&store).unwrap();
    }

    #[test]
    fn only_a_store_that_loses_nothing_has_nothing_to_say() {
        let loss = |durable| {
            let (failover_safe, volatile_accepted) = (true, false);
            let capabilities = Capabilities {
                durable,
                failover_safe,
                volatile_accepted,
            };
            capabilities.loss()
        };
        assert_eq!(loss(Durable::Always), None);
        assert!(loss(Durable::UpTo { ms: 1500 }).unwrap().contains("2 s"));
        assert!(loss(Durable::Process).is_some() && loss(Durable::Nothing).is_some());
    }
}
