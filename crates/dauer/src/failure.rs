//! How a command fails: one line on standard error and an exit code.

use std::fmt;
use std::io;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// Tell the user; the exit code is the command's own for failures.
    Message(String),
    /// Tell the user and exit with this code.
    Coded(String, i32),
    /// Exit with this code; there is nobody to tell, or it was told already.
    Quiet(i32),
}

/// What a command exits with.
pub(crate) type Outcome = Result<i32, Failure>;

/// Whoever read our output is gone: what a shell reports for a program killed by PIPE.
pub(crate) const OUTPUT_CLOSED: i32 = 141;

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self::Message(message.into())
    }

    /// Adds what was tried to an error: `.map_err(Failure::because("cannot read /x"))`.
    pub(crate) fn because<E: fmt::Display>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |error| Self::Message(format!("{what}: {error}"))
    }

    /// For errors of writing to standard output.
    pub(crate) fn output(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Quiet(OUTPUT_CLOSED),
            _ => Self::Message(format!("cannot write the output: {error}")),
        }
    }
}

impl From<dauer_client::Error> for Failure {
    fn from(error: dauer_client::Error) -> Self {
        Self::Message(error.to_string())
    }
}

/// One line for people, whatever is in it.
pub(crate) fn report(message: &str) {
    let line = message
        .split('\n')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join("; ");
    eprintln!("dauer: {line}");
}
