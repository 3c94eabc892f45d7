//! Plans: what to do, from what is written down and what is there.

pub mod admission;
pub mod firing;
pub mod recovery;
