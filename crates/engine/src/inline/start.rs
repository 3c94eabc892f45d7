//! An engine inside another program: functions only, no sandboxes.

use super::{Handler, Host};
use crate::lease::{LEASE, Member};
use crate::runtime::Unanswered;
use crate::{Config, Engine, Error, lease, recover, scheduler, submit};
use dauer_core::NodeId;
use dauer_core::plan::admission::Limits;
use dauer_core::plan::eviction::Capacity;
use dauer_sandbox::Layout;
use dauer_store::Store;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What an engine without sandboxes needs to know.
pub struct Embedded {
    /// The functions by name.
    pub handlers: BTreeMap<String, Handler>,
    /// So many of them run at once.
    pub concurrency: usize,
    /// What this program is called among those on the store.
    pub node: Option<NodeId>,
}

impl Engine {
    /// Starts an engine that calls functions of this program. What another process was running when it ended is called again.
    /// One store belongs to one engine at a time.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn embed(embedded: Embedded, store: Arc<dyn Store>) -> Result<Self, Error> {
        let process = submit::random_id();
        let (host, ended) = Host::new(embedded.handlers, process.clone());
        // No sandbox is ever made: these folders are neither read nor written.
        let nowhere = PathBuf::from("/nonexistent");
        let config = Config {
            layout: Layout {
                data: nowhere.clone(),
                run: nowhere.clone(),
            },
            shim_binary: nowhere.clone(),
            guest_binary: nowhere,
            default_driver: Some(dauer_core::INLINE.to_owned()),
            limits: Limits {
                live_max: embedded.concurrency,
                rising_max: embedded.concurrency,
                cpu_millis_max: u64::MAX,
                memory_bytes_max: u64::MAX,
            },
            member: member(embedded.node, store.is_shared()),
            usage_keep: None,
            keep: crate::Keep::default(),
            pack_after: None,
            cache: Capacity::default(),
            paused: false,
            pause_after_crashes: 0,
        };
        // There is no sandbox that could ask.
        let api = Arc::new(Unanswered);
        let engine = Self::assemble(config, store, api, process, Some(host)).await?;
        engine.join().await?;
        engine.load_queues().await?;
        engine.recover_images().await;
        recover::at_start(&engine).await?;
        lease::look_once(&engine).await;
        engine.tell_all_followers().await?;
        super::start(&engine, ended);
        tokio::spawn(scheduler::run(engine.clone()));
        Ok(engine)
    }
}

/// A program without a name has the store for itself, or another name each time.
fn member(node: Option<NodeId>, is_shared: bool) -> Member {
    let nameless = || match is_shared {
        true => NodeId(format!("program-{}", &submit::random_id()[..8])),
        false => NodeId::from("program"),
    };
    Member {
        node: node.unwrap_or_else(nameless),
        address: None,
        lease: LEASE,
    }
}
