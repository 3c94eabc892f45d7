//! What a file, folder, link or mark of overlayfs is beside its content, and making it anew.

use crate::disk::xattr;
use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{Mode, SFlag, UtimensatFlags, mknod, utimensat};
use nix::sys::time::TimeSpec;
use serde::{Deserialize, Serialize};
use std::ffi::{CString, OsStr, OsString};
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

/// Attributes that a checkpoint's files may have: what programs set, and overlayfs's own marks.
const XATTR_PREFIXES: [&str; 5] = [
    "user.",
    "trusted.overlay.",
    "security.capability",
    "system.posix_acl_access",
    "system.posix_acl_default",
];

/// One name below `memory/` or `disk/`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Entry {
    /// Below the checkpoint's folder; any bytes that a name may have.
    pub(super) path: Vec<u8>,
    pub(super) kind: Kind,
    mode: u32,
    uid: u32,
    gid: u32,
    accessed: (i64, i64),
    modified: (i64, i64),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Folder,
    /// So many bytes long; its content follows.
    File {
        bytes: u64,
    },
    Symlink {
        target: Vec<u8>,
    },
    /// Another name of a file that came before.
    Hardlink {
        to: Vec<u8>,
    },
    Fifo,
    Socket,
    /// The mark of overlayfs for a deleted name: a character device 0/0.
    Whiteout,
}

impl Entry {
    /// What is at `path`. Errors: `Unsupported` for a device.
    pub(super) fn of(
        name: &Path,
        path: &Path,
        meta: &Metadata,
        first: Option<&Path>,
    ) -> io::Result<Self> {
        let kind = meta.file_type();
        let kind = if let Some(first) = first {
            Kind::Hardlink {
                to: first.as_os_str().as_bytes().to_vec(),
            }
        } else if kind.is_dir() {
            Kind::Folder
        } else if kind.is_file() {
            Kind::File { bytes: meta.len() }
        } else if kind.is_symlink() {
            Kind::Symlink {
                target: fs::read_link(path)?.into_os_string().into_vec(),
            }
        } else if kind.is_fifo() {
            Kind::Fifo
        } else if kind.is_socket() {
            Kind::Socket
        } else if kind.is_char_device() && meta.rdev() == 0 {
            Kind::Whiteout
        } else {
            let why = "it is a device, which does not travel: remove it inside first";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        };
        let xattrs = xattr::all(path)?;
        Ok(Self {
            path: name.as_os_str().as_bytes().to_vec(),
            kind,
            mode: meta.mode() & 0o7777,
            uid: meta.uid(),
            gid: meta.gid(),
            accessed: (meta.atime(), meta.atime_nsec()),
            modified: (meta.mtime(), meta.mtime_nsec()),
            xattrs: xattrs
                .into_iter()
                .map(|(name, value)| (name.into_bytes(), value))
                .collect(),
        })
    }

    /// Its path, if it leads nowhere but below `memory` or `disk`.
    pub(super) fn checked_path(&self) -> Option<PathBuf> {
        checked(&self.path)
    }

    /// Makes anything but a folder, a file or a hard link at a path where nothing is.
    pub(super) fn make_special(&self, at: &Path) -> io::Result<()> {
        let node =
            |kind| mknod(at, kind, Mode::S_IRUSR | Mode::S_IWUSR, 0).map_err(io::Error::from);
        match &self.kind {
            Kind::Symlink { target } => std::os::unix::fs::symlink(OsStr::from_bytes(target), at),
            Kind::Fifo => node(SFlag::S_IFIFO),
            Kind::Socket => node(SFlag::S_IFSOCK),
            Kind::Whiteout => node(SFlag::S_IFCHR),
            Kind::Folder | Kind::File { .. } | Kind::Hardlink { .. } => {
                unreachable!("made by whoever knows what is in it")
            }
        }
    }

    /// Owner, attributes, mode and times, in the order in which one does not undo another. Of a folder: when everything is in it.
    pub(super) fn dress(&self, at: &Path) -> io::Result<()> {
        match std::os::unix::fs::lchown(at, Some(self.uid), Some(self.gid)) {
            // An ordinary user's checkpoints hold only what that user owns.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::EINVAL)) => {}
            done => done?,
        }
        for (name, value) in &self.xattrs {
            let text = String::from_utf8_lossy(name);
            if !XATTR_PREFIXES.iter().any(|prefix| text.starts_with(prefix)) {
                let why = format!("it has the attribute {text}, which no checkpoint has");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            let name = CString::new(name.as_slice()).map_err(io::Error::other)?;
            xattr::set(at, &name, value)?;
        }
        if !matches!(self.kind, Kind::Symlink { .. }) {
            fs::set_permissions(at, fs::Permissions::from_mode(self.mode & 0o7777))?;
        }
        let time =
            |(seconds, nanos): (i64, i64)| TimeSpec::new(seconds, nanos.clamp(0, 999_999_999));
        let (accessed, modified) = (time(self.accessed), time(self.modified));
        let no_follow = UtimensatFlags::NoFollowSymlink;
        Ok(utimensat(AT_FDCWD, at, &accessed, &modified, no_follow)?)
    }
}

/// A path from a stream, if it leads nowhere but below `memory` or `disk`.
pub(super) fn checked(path: &[u8]) -> Option<PathBuf> {
    if path.contains(&0) {
        return None;
    }
    let path = PathBuf::from(OsString::from_vec(path.to_vec()));
    let mut components = path.components();
    let top = match components.next()? {
        Component::Normal(top) => top == "memory" || top == "disk",
        Component::Prefix(_) | Component::RootDir | Component::CurDir | Component::ParentDir => {
            false
        }
    };
    let below = components.all(|component| matches!(component, Component::Normal(_)));
    // Whatever `components` has tidied away (`a//b`, `a/./b`) we do not write.
    let tidy: PathBuf = path.components().collect();
    (top && below && tidy.as_os_str() == path.as_os_str()).then_some(path)
}
