//! Servers that a test starts for itself, and what can be done to the way to them.

// Every test that uses this compiles it, and none needs all of it.
#![allow(dead_code)]

pub(crate) mod breaking;
pub(crate) mod postgres;
pub(crate) mod proxy;
pub(crate) mod redis;
