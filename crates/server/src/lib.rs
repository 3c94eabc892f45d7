//! Dauer.
