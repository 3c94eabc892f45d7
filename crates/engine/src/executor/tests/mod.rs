//! The rules, over a backend that fails where it is told to and notes what it is asked.

mod cache;
mod fake;
mod faults;
mod stops;
