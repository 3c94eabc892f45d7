//! What can go wrong with a sandbox, by what the caller can do next.

use std::io;
use std::path::PathBuf;

/// An error of this crate. The text is one line that says what failed and, where there is something to do, what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong: tell the caller.
    #[error("{0}")]
    Invalid(String),
    /// This driver cannot do that on this machine: tell the caller.
    #[error("{0}")]
    Unsupported(String),
    /// Not enough room: nothing was changed, what existed is still good.
    #[error("no space left on {}: about {needed_bytes} bytes are needed, {free_bytes} are free", path.display())]
    NoSpace {
        /// A path on the file system that is full.
        path: PathBuf,
        /// An estimate.
        needed_bytes: u64,
        /// What there is.
        free_bytes: u64,
    },
    /// An image is torn, changed or made elsewhere: it cannot be restored here.
    #[error("{0}")]
    BadImage(String),
    /// A registry does not give what was asked of it.
    #[error("{0}")]
    Registry(String),
    /// The sandbox is not there (any more).
    #[error("the sandbox is gone")]
    Gone,
    /// The program could not be started: what a shell would exit with, and why.
    #[error("{message}")]
    StartFailed {
        /// 125, 126 or 127.
        code: i32,
        /// One line.
        message: String,
    },
    /// A runtime's own tool failed; `output` is the end of what it printed.
    #[error("{tool} failed ({status}): {output}")]
    Tool {
        /// `runsc restore` …
        tool: String,
        /// Exit status.
        status: String,
        /// Its last lines.
        output: String,
    },
    /// The shim could not do it; the sandbox goes on as before.
    #[error("{0}")]
    Refused(String),
    /// The operating system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, on what.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
}

impl Error {
    /// Adds to an operating system error what was tried: `.map_err(Error::io("open /x"))`.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The same for errors of `nix`.
    pub fn os(what: impl Into<String>) -> impl FnOnce(nix::errno::Errno) -> Self {
        let what = what.into();
        move |errno| Self::Io {
            what,
            source: errno.into(),
        }
    }
}
