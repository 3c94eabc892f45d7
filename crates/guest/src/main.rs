//! The guest binary: `init`, the agent that is pid 1 of every sandbox, and the commands a job runs inside it.

mod agent;
mod archive;
mod command;
mod relay;

use std::ffi::OsString;
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(first) = words.next() else {
        return command::usage_missing();
    };
    let rest: Vec<OsString> = words.collect();
    match first.to_str() {
        Some("init") => agent::run(),
        Some("tar-out") => archive::tar_out(&rest),
        Some("tar-in") => archive::tar_in(&rest),
        _ => command::run(&first, &rest),
    }
}
