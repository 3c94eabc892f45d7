//! Bodies of the caller API (`/v1`, for clients) and of the runtime API (for the job itself). JSON; times are
//! milliseconds since the epoch in fields ending in `_at`, durations in `_ms`, sizes in `_bytes`.

mod access;
mod call;
mod checkpoint;
mod definition;
mod event;
mod fork;
mod gc;
mod history;
mod info;
mod job;
mod node;
mod problem;
mod queue;
mod result;
mod runtime;
mod schedule;
mod signal;
mod step;
mod stream;
mod time;
mod transfer;
mod usage;

pub use access::*;
pub use call::*;
pub use checkpoint::*;
pub use definition::*;
pub use event::*;
pub use fork::*;
pub use gc::*;
pub use history::*;
pub use info::*;
pub use job::*;
pub use node::*;
pub use problem::*;
pub use queue::*;
pub use result::*;
pub use runtime::*;
pub use schedule::*;
pub use signal::*;
pub use step::*;
pub use stream::*;
pub use time::*;
pub use transfer::*;
pub use usage::*;
