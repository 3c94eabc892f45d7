//! Both HTTP faces of the engine: the caller API on a unix socket, and the runtime API that jobs reach through
//! their sandbox's own channel. Translates, and decides nothing.
//!
//! Reading order: [`serve`] (socket, connections, shutdown), `routes` (every path), then a file for each kind of
//! answer. Statuses are chosen only in `error`.

mod about;
mod access;
mod definitions;
mod document;
mod error;
mod exec;
mod extract;
mod files;
mod jobs;
mod listen;
mod messages;
mod request_id;
mod routes;
mod runtime;
mod spec;
mod sse;
mod stream;
mod streams;
mod submit;
mod view;

pub use document::openapi;
pub use listen::{Listener, serve};
pub use routes::About;
pub use runtime::Runtime;
