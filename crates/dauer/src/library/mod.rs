//! The engine as a library: who builds it, what is asked of it, and what a function may return.

mod builder;
mod engine;
mod error;
mod spec;

pub use builder::Builder;
pub use engine::Engine;
pub use error::{HandlerError, fatal};
pub use spec::Spec;
