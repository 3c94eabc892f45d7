//! What a sandbox wrote: the upper folders of its overlays, copied, linked, measured and listed.
//!
//! An upper folder is an ordinary folder with overlayfs's own marks: a deleted file is a character device 0/0, and attributes
//! `trusted.overlay.*` (`user.overlay.*` without root) say what a folder hides. All of it must travel.

mod below;
mod changes;
mod tree;
pub(crate) mod xattr;

pub use below::{Below, Layer};
#[cfg(test)]
pub(crate) use changes::is_opaque;
pub use changes::{ChangeKind, Changed, changes};
pub use tree::{copy_tree, link_tree, stack_trees, tree_bytes};
pub(crate) use tree::{free_bytes, is_empty, keep, next_data, no_space, walk};
#[cfg(test)]
pub(crate) use xattr::get as attribute;
