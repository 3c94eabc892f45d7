//! The subcommands, one file each.

pub(crate) mod checkpoint;
pub(crate) mod checkpoints;
pub(crate) mod completion;
pub(crate) mod cp;
pub(crate) mod diff;
pub(crate) mod doctor;
pub(crate) mod events;
pub(crate) mod exec;
pub(crate) mod info;
pub(crate) mod inspect;
pub(crate) mod kill;
pub(crate) mod logs;
pub(crate) mod openapi;
pub(crate) mod ps;
pub(crate) mod result;
pub(crate) mod resume;
pub(crate) mod rm;
pub(crate) mod run;
pub(crate) mod serve;
pub(crate) mod signal;
pub(crate) mod stop;
pub(crate) mod suspend;
pub(crate) mod token;
pub(crate) mod version;
pub(crate) mod wait;
