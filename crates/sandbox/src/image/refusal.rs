//! Why an entry of an image is not unpacked, in words.

use crate::Error;
use nix::errno::Errno;
use std::io;
use std::path::Path;

/// Why an entry is not unpacked.
pub(super) enum Why {
    /// It is not what an image may have in it.
    Refused(String),
    /// The tar itself.
    Torn(io::Error),
    /// The kernel.
    Os(Errno),
}

impl From<Errno> for Why {
    fn from(errno: Errno) -> Self {
        Self::Os(errno)
    }
}

impl Why {
    /// With the name of the entry.
    pub(super) fn explain(self, name: &str, place: &Path) -> Error {
        match self {
            Self::Refused(why) => Error::Invalid(format!("the image is refused: {name} {why}")),
            Self::Torn(error) => torn(place, &error),
            Self::Os(Errno::ENOSPC | Errno::EDQUOT) => crate::disk::no_space(place, 0),
            // What the path itself is refused for, by the kernel.
            Self::Os(Errno::ELOOP) => Error::Invalid(format!(
                "the image is refused: {name} goes through a symbolic link"
            )),
            Self::Os(
                errno @ (Errno::ENAMETOOLONG | Errno::ENOTDIR | Errno::EILSEQ | Errno::EINVAL),
            ) => Error::Invalid(format!("the image is refused: {name}: {}", errno.desc())),
            Self::Os(errno) => Error::os(format!("unpack {name} into {}", place.display()))(errno),
        }
    }
}

/// Why a tar cannot be read on.
pub(super) fn torn(place: &Path, error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            Error::Invalid("the image is cut off: its tar ends too early".into())
        }
        io::ErrorKind::StorageFull => crate::disk::no_space(place, 0),
        _ => Error::Invalid(format!("the image cannot be unpacked: {error}")),
    }
}
