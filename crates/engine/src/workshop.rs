//! An engine inside another program that runs steps: sandboxes, and nobody who asks for jobs.

use crate::lease::{LEASE, Member};
use crate::runtime::Unanswered;
use crate::{Config, Engine, Error, Keep, Room, limits};
use dauer_core::NodeId;
use dauer_core::plan::eviction::Capacity;
use dauer_sandbox::Layout;
use dauer_store::Store;
use std::path::PathBuf;
use std::sync::Arc;

/// What an engine for steps needs to know.
#[derive(Clone, Debug)]
pub struct Workshop {
    /// Where its sandboxes and snapshots are. One process has it at a time.
    pub data_dir: PathBuf,
    /// The program that is a shim when called as `shim SPEC`.
    pub program: PathBuf,
    /// The guest agent.
    pub guest: PathBuf,
    /// How much is kept.
    pub cache: Capacity,
}

impl Engine {
    /// Starts an engine that runs steps ([`Engine::executor`]). What another process was running when it ended is cleared away.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn for_steps(workshop: Workshop, store: Arc<dyn Store>) -> Result<Self, Error> {
        let config = Config {
            layout: Layout {
                run: workshop.data_dir.join("run"),
                data: workshop.data_dir,
            },
            shim_binary: workshop.program,
            guest_binary: workshop.guest,
            default_driver: None,
            limits: limits(&Room::default()),
            member: Member {
                node: NodeId::from("steps"),
                address: None,
                lease: LEASE,
            },
            usage_keep: None,
            keep: Keep::default(),
            pack_after: None,
            cache: workshop.cache,
            paused: false,
            pause_after_crashes: 0,
        };
        Self::start(config, store, Arc::new(Unanswered)).await
    }
}
