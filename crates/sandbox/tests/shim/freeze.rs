//! Freezing and thawing with memory.
