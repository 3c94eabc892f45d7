//! What the host's kernel is asked for: mounts, cgroups, namespaces, processes. Knows no driver.

pub mod cgroup;
pub mod copy;
pub mod mounts;
pub mod nat;
mod netlink;
pub mod netns;
pub mod process;
pub mod root;
pub mod run;
pub mod userns;
