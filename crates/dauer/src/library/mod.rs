//! The engine as a library: who builds it, what is asked of it, and what a function may return; and steps in sandboxes.

mod builder;
mod engine;
mod error;
mod spec;
mod steps;

pub use builder::Builder;
pub use engine::Engine;
pub use error::{HandlerError, fatal};
pub use spec::Spec;
pub use steps::{Steps, StepsBuilder};
