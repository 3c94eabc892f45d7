//! Durable jobs inside your own program: async functions with the states, retries, timeouts, priorities, tags, history and
//! recovery that Dauer gives to programs in sandboxes.
//!
//! ```
//! use dauer::{Engine, Spec, Sqlite};
//!
//! #[derive(serde::Serialize, serde::Deserialize)]
//! struct Thumb { path: String, width: u32 }
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), dauer::Error> {
//! # let folder = tempfile::tempdir().unwrap();
//! let engine = Engine::builder()
//!     .store(Sqlite::open(folder.path().join("jobs.db"))?)
//!     .handler("thumbnail", |ctx, params: Thumb| async move {
//!         ctx.progress(0.5, Some(1.0), None).await?;
//!         Ok(format!("{}@{}", params.path, params.width))
//!     })
//!     .start()
//!     .await?;
//! let spec = Spec::new("thumbnail").params(&Thumb { path: "a.png".into(), width: 64 })?.tag("team", "web").max_retries(3);
//! let job = engine.submit(spec).await?;
//! let done = engine.wait(&job.id).await?;
//! assert_eq!(done.state, dauer::State::Completed);
//! assert_eq!(engine.output::<String>(&job.id).await?.as_deref(), Some("a.png@64"));
//! engine.shutdown(std::time::Duration::from_secs(5)).await;
//! # Ok(())
//! # }
//! ```
//!
//! A job is written down before its function is called, and so is what becomes of it: a program that dies in the middle calls the
//! function again when it is started again. So a function runs **at least once**; what it must not do twice, it saves with
//! [`Context::save`]. Without a store everything is kept in memory, with the same rules.
//!
//! Steps are programs in sandboxes whose files are kept, so that the same one is not run again: [`Steps`], [`Executor::execute`].
//!
//! Blocking work belongs on [`tokio::task::spawn_blocking`]: a function is ended where it next awaits.

mod library;

pub use library::{Builder, Engine, HandlerError, Spec, Steps, StepsBuilder, fatal};

pub use dauer_core::{
    CheckpointId, Image, Job, JobId, Network, Outcome, Priority, Progress, Reason, RetryPolicy,
    State, Timestamp,
};
pub use dauer_engine::executor::{
    Action, Executed, Executor, Policy, Sink, Source, Stream, Surroundings,
};
pub use dauer_engine::inline::{Context, Item, SAVED_BYTES_MAX, Tokens, WhenAbandoned};
pub use dauer_engine::{Capacity, Entry, Error, Filter};
pub use dauer_store::{Durability, Sqlite, Store};
pub use tokio_util::sync::CancellationToken;
