//! The store in Redis or Valkey: every write is a script that asks everything first and then writes, every question one that answers
//! from one moment.
//!
//! A script that was run is whole in the append-only file or not there at all; one whose answer was lost is asked again under its
//! number and answers the same. What each key holds, all behind the prefix (`{dauer}:` where the address does not say another; the hash
//! tag keeps them in one slot of a cluster):
//!
//! | key | type | holds |
//! |---|---|---|
//! | `job:<id>` | hash | `v` version, `c` columns (MessagePack, the scripts' own), `r` record, `s` spec, `p` parameters, `d` tags and metadata where they were changed |
//! | `ids`, `state:<state>`, `batch:<state>:<batch>`, `tag:<key>:<value>`, `children:<parent>`, `asleep:<queue>`, `unsettled:<node>`, `unique:<state>:<key>`, `pointing:<checkpoint>` | sorted by id | jobs found by that |
//! | `due:<lane>:<queue>`, `expiring` | sorted by time | jobs that wait |
//! | `lanes`, `followed`, `turning` | sorted by text | those of the sets beside them that are not empty |
//! | `names`, `keys`, `sandboxes` | hash | the job that has one |
//! | `followers:<id>`, `blockers:<id>` | sorted, set | who waits for it, and for whom it waits |
//! | `checkpoints`, `checkpoint_records`, `images:<id>` | hash, hash, sorted by arrival | whose a checkpoint is, what is said of it, those of a job |
//! | `sharing:<id>` | set | the jobs that share the folder of a checkpoint which they did not take; their rows are named `<id>@<job>` |
//! | `snapshots`, `snapshot_heads`, `snapshot_names`, `snapshot_ids` | hash, hash, hash, sorted by text | what is said of a snapshot, its version and name, the one of a name, all of them |
//! | `cache`, `cache_keys`, `cached:<snapshot>`, `cache_used` | hash, sorted by text, sorted by text, sorted by time | entries (MessagePack), their keys, those that lead to a snapshot, those that may be evicted |
//! | `tokens:<id>`, `output:<id>`, `waits:<id>` | hash, string, hash | what a job keeps |
//! | `signals:<id>`, `standing:<id>` | hash | signals, and whether each waits, by which number, taken by whom |
//! | `inbox:<id>`, `takers:<id>`, `taken:<id>` | sorted by text, set | those that wait by name, those that had a taker, those taken since the last checkpoint |
//! | `journal`, `audit` | stream | entries; an id is the number of the entry, for the audit also its own behind it |
//! | `entries:<id>` | sorted by number | the entries of a job |
//! | `interval:<n>`, `used:<kind>:<owner>`, `metering`, `metered` | hash, sorted by begin, hash, sorted by end | the ledger: an interval, those of an owner, the open one of each kind, those that are closed |
//! | `definitions`, `schedules`, `queues`, `access` and theirs | hash | what their names say; `firing` sorts schedules by their moment |
//! | `counts` | hash | the numbers given last |
//! | `daemons`, `heartbeat`, `turns:<queue>` | list, string, sorted by time | as they say |
//! | `leases`, `epochs`, `reserving`, `reserved` | hash, hash, sorted by end, hash | leases of nodes and their epochs, jobs that a node was told of |
//! | `moving` | string | what is being moved here |
//! | `answered:<handle>` | string, for 10 minutes | the number of the last call of a handle, and its answers |
//!
//! Reading order: the scripts (`lua/keys.lua`, `lua/jobs.lua`, `lua/write.lua`, `lua/read.lua`), [`encode`], [`writer`], [`link`].

mod address;
mod answer;
mod arrival;
mod ask;
mod check;
mod decoded;
mod ears;
mod encode;
mod export;
mod fault;
mod jobs;
mod lease;
mod ledger;
mod link;
mod records;
mod scripts;
mod settings;
mod shapes;
mod snapshots;
mod store;
mod waiting;
mod writer;

use crate::record::Write;
use crate::{Capabilities, Error};
use address::Address;
use ears::Ears;
use encode::encoded;
use fault::Fault;
use link::Link;
use redis::{FromRedisValue, Value};
use std::sync::Arc;
use writer::Writer;

/// The layout of the keys. One of a newer one is refused and not touched.
const LAYOUT: u32 = 1;

/// A store in a Redis or Valkey server. Cheap to clone; all clones are one handle.
#[derive(Clone, Debug)]
pub struct Redis {
    /// Reads go another way than writes, which must not wait behind a large answer.
    reading: Arc<Link>,
    writer: Writer,
    ears: Ears,
    capabilities: Capabilities,
}

impl Redis {
    /// Opens the store at this address: `redis://[user:password@]host[:port][/database]`, `rediss://` with TLS, or
    /// `redis+unix:///path`; `?prefix=` names what its keys begin with, so that one server can hold several.
    ///
    /// Errors: `Backend` where the server cannot be reached, would evict keys, is too old, or holds the store of a newer dauer.
    pub async fn connect(url: &str) -> Result<Self, Error> {
        let address = Address::parse(url)?;
        let (reading, writing) = (Link::new(address.clone()), Link::new(address));
        reading.reach().await?;
        let capabilities = settings::capabilities(&reading).await?;
        layout(&reading).await?;
        let writer = Writer::start(writing);
        Ok(Self {
            ears: Ears::of(Arc::clone(&reading), Arc::clone(&writer.handle)),
            reading,
            writer,
            capabilities,
        })
    }

    async fn write(&self, write: Write) -> Result<(), Error> {
        self.writer.write(encoded(&write)).await
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.reading.address.prefix)
    }

    /// Runs a command on one key.
    async fn on_key<T: FromRedisValue>(
        &self,
        command: &str,
        key: &str,
        args: &[&str],
    ) -> Result<T, Error> {
        let mut asked = redis::cmd(command);
        asked.arg(self.key(key));
        for arg in args {
            asked.arg(*arg);
        }
        self.reading.ask(&asked).await
    }
}

/// Writes the layout down where there is none yet.
async fn layout(link: &Link) -> Result<(), Error> {
    let key = format!("{}layout", link.address.prefix);
    let mut put = redis::cmd("SET");
    put.arg(&key).arg(LAYOUT).arg("NX");
    let _: Value = link.ask(&put).await?;
    let mut get = redis::cmd("GET");
    get.arg(&key);
    let found: u32 = link.ask(&get).await?;
    if found <= LAYOUT {
        return Ok(());
    }
    let at = link.address.shown.clone();
    let why = format!(
        "it holds the store of a newer dauer (layout {found}, this one knows {LAYOUT}): use that, or another `?prefix=`"
    );
    Err(Fault::Unfit { at, why }.into())
}
