//! Both HTTP faces of the engine: the caller API on a unix socket and on TCP, and the runtime API that jobs reach through
//! their sandbox's own channel. Translates, and decides nothing.
//!
//! Reading order: [`serve()`] (connections, shutdown), `routes` (every path), `gate` (who may), then a file for each kind of
//! answer. Statuses are chosen only in `error`.

mod about;
mod batches;
mod cache;
mod definitions;
mod document;
mod error;
mod exec;
mod extract;
mod files;
mod forks;
mod gate;
mod gc;
mod history;
mod images;
mod jobs;
mod listen;
mod messages;
mod nodes;
mod policy;
mod queues;
mod request_id;
mod routes;
mod runtime;
mod schedules;
mod serve;
mod socket;
mod spec;
mod sse;
mod steps;
mod stream;
mod streams;
mod submit;
mod tcp;
mod tls;
mod tokens;
mod transfer;
mod usage;
mod view;

pub use document::openapi;
pub use listen::Listener;
pub use routes::About;
pub use runtime::Runtime;
pub use serve::{Serving, serve};
pub use tcp::Tcp;
pub use tls::Tls;
