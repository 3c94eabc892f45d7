//! Plans: what to do, from what is written down and what is there.

pub mod admission;
pub mod eviction;
pub mod firing;
pub mod places;
pub mod pool;
pub mod rates;
pub mod recovery;
pub mod retention;
pub mod turn;
