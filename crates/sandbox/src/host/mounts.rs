//! The mount table, single mounts, and paths that stay inside a root.

use crate::Error;
use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, openat2};
use nix::mount::{MsFlags, mount};
use nix::sys::stat::Mode;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One line of `/proc/self/mountinfo`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is mounted.
    pub point: PathBuf,
    /// Type of the file system.
    pub kind: String,
    /// Either the mount or the file system is read-only.
    pub read_only: bool,
    /// What is below it shows the same files there: a folder bound to itself, as Podman does with its storage.
    pub repeats: bool,
}

/// One line of the kernel's list.
struct Line {
    id: u64,
    parent: u64,
    /// Of the file system.
    device: Vec<u8>,
    /// What of the file system is shown.
    root: PathBuf,
    mounted: Mounted,
}

/// All mounts of this process's namespace, in the order they were made.
pub fn mounted() -> Result<Vec<Mounted>, Error> {
    let path = "/proc/self/mountinfo";
    let text = std::fs::read(path).map_err(Error::io(format!("read {path}")))?;
    Ok(parse(&text))
}

fn parse(text: &[u8]) -> Vec<Mounted> {
    let mut lines: Vec<_> = text
        .split(|byte| *byte == b'\n')
        .filter_map(parse_line)
        .collect();
    for number in 0..lines.len() {
        let line = &lines[number];
        let parent = lines.iter().find(|other| other.id == line.parent);
        lines[number].mounted.repeats = parent.is_some_and(|parent| line.repeats(parent));
    }
    lines.into_iter().map(|line| line.mounted).collect()
}

impl Line {
    fn repeats(&self, parent: &Self) -> bool {
        let within = self.mounted.point.strip_prefix(&parent.mounted.point);
        // Components are compared, so that joining nothing changes nothing.
        self.device == parent.device
            && within.is_ok_and(|within| parent.root.join(within) == self.root)
    }
}

fn parse_line(line: &[u8]) -> Option<Line> {
    let path = |field: &[u8]| PathBuf::from(OsString::from_vec(unescape(field)));
    let number = |field: &[u8]| std::str::from_utf8(field).ok()?.parse().ok();
    let mut fields = line.split(|byte| *byte == b' ');
    let (id, parent) = (number(fields.next()?)?, number(fields.next()?)?);
    let device = fields.next()?.to_vec();
    let (root, point) = (path(fields.next()?), path(fields.next()?));
    let options = fields.next()?;
    let mut rest = fields.skip_while(|field| *field != b"-").skip(1);
    let kind = String::from_utf8_lossy(rest.next()?).into_owned();
    let super_options = rest.nth(1)?;
    let read_only = [options, super_options].iter().any(|options| {
        options
            .split(|byte| *byte == b',')
            .any(|option| option == b"ro")
    });
    Some(Line {
        id,
        parent,
        device,
        root,
        mounted: Mounted {
            point,
            kind,
            read_only,
            repeats: false,
        },
    })
}

/// The kernel writes blanks and backslashes of paths as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(value) = octal {
            out.push(value);
            rest = &tail[3..];
        } else {
            out.push(byte);
            rest = tail;
        }
    }
    out
}

/// From now on nothing mounted here reaches another namespace, nor the other way round.
pub fn make_private() -> Result<(), Error> {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .map_err(Error::os("make mounts private"))
}

/// Binds `source` (with what is mounted below it) to `target`.
pub fn bind(source: &Path, target: &Path, read_only: bool) -> Result<(), Error> {
    let what = || format!("bind {} to {}", source.display(), target.display());
    mount(
        Some(source),
        target,
        None::<&str>,
        MsFlags::MS_BIND | MsFlags::MS_REC,
        None::<&str>,
    )
    .map_err(Error::os(what()))?;
    if read_only {
        set_read_only(target).map_err(Error::os(format!("{} read-only", what())))?;
    }
    Ok(())
}

/// Makes a mount and those below it read-only and keeps their other flags, some of which must not be dropped in a user namespace.
fn set_read_only(target: &Path) -> Result<(), Errno> {
    let target =
        std::ffi::CString::new(target.as_os_str().as_encoded_bytes()).map_err(|_| Errno::EINVAL)?;
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the pointers are valid for the call, the size is that of the struct.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            target.as_ptr(),
            libc::AT_RECURSIVE,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    Errno::result(result).map(drop)
}

/// The kernel takes the options of a mount as one page, of which its own part has to fit too.
const OPTIONS_BYTES_MAX: usize = 3800;

/// An overlay: `lowers` stay as they are, what is written goes to `upper`.
#[derive(Clone, Debug)]
pub struct Overlay<'a> {
    /// Read-only below, the topmost first; at least one.
    pub lowers: &'a [PathBuf],
    /// Changes.
    pub upper: &'a Path,
    /// The kernel's own, on the same file system as `upper`.
    pub work: &'a Path,
    /// In a user namespace the kernel keeps its marks in `user.` attributes.
    pub user_attributes: bool,
}

impl Overlay<'_> {
    /// Mounts it at `target`.
    pub fn mount(&self, target: &Path) -> Result<(), Errno> {
        mount_overlay(target, self.lowers, &self.options())
    }

    fn options(&self) -> OsString {
        let mut options = OsString::from(",upperdir=");
        options.push(escape(self.upper));
        options.push(",workdir=");
        options.push(escape(self.work));
        if self.user_attributes {
            options.push(",userxattr");
        }
        options
    }
}

/// Mounts folders over each other at `target`, the topmost first, read-only; at least two.
pub fn stack(lowers: &[PathBuf], target: &Path) -> Result<(), Errno> {
    mount_overlay(target, lowers, OsStr::new(""))
}

fn mount_overlay(target: &Path, lowers: &[PathBuf], rest: &OsStr) -> Result<(), Errno> {
    let plain = lower_option(lowers);
    if plain.len() + rest.len() <= OPTIONS_BYTES_MAX {
        return mount_with(target, plain, rest);
    }
    // The path of an open folder is short, however many layers there are and wherever they lie.
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let open = |path: &PathBuf| nix::fcntl::open(path, flags, Mode::empty());
    let opened: Vec<OwnedFd> = lowers.iter().map(open).collect::<Result<_, _>>()?;
    let short = |fd: &OwnedFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let short: Vec<_> = opened.iter().map(short).collect();
    mount_with(target, lower_option(&short), rest)
}

fn lower_option(lowers: &[PathBuf]) -> OsString {
    let mut option = OsString::from("lowerdir=");
    for (number, lower) in lowers.iter().enumerate() {
        if number > 0 {
            option.push(":");
        }
        option.push(escape(lower));
    }
    option
}

fn mount_with(target: &Path, mut options: OsString, rest: &OsStr) -> Result<(), Errno> {
    options.push(rest);
    mount(
        Some("overlay"),
        target,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_os_str()),
    )
}

/// Overlay options split at commas, lower folders at colons.
fn escape(path: &Path) -> OsString {
    let mut out = Vec::new();
    for &byte in path.as_os_str().as_encoded_bytes() {
        if matches!(byte, b'\\' | b',' | b':') {
            out.push(b'\\');
        }
        out.push(byte);
    }
    OsString::from_vec(out)
}

/// What a mount point has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PointKind {
    /// A folder.
    Folder,
    /// An empty file.
    File,
}

/// A root folder whose content is not trusted: its symbolic links are followed as if it were `/`, so that no path leads out of it.
#[derive(Debug)]
pub struct Inside {
    root: OwnedFd,
}

impl Inside {
    /// Opens the root.
    pub fn open(root: &Path) -> Result<Self, Error> {
        let file = File::open(root).map_err(Error::io(format!("open {}", root.display())))?;
        Ok(Self { root: file.into() })
    }

    fn find(&self, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_IN_ROOT);
        openat2(&self.root, path, how)
    }

    /// Whether there is something at `path`.
    pub fn contains(&self, path: &Path) -> Result<bool, Error> {
        match self.find(path, OFlag::O_PATH) {
            Ok(_) => Ok(true),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(false),
            Err(errno) => Err(Error::os(format!(
                "look up {} in the image",
                path.display()
            ))(errno)),
        }
    }

    /// The folder or file at `path`, made with its parents where it is not there. Returns it open (`O_PATH`).
    pub fn make(&self, path: &Path, kind: PointKind) -> Result<OwnedFd, Error> {
        self.make_point(path, kind)
            .map_err(Error::os(format!("make {} in the image", path.display())))
    }

    fn make_point(&self, path: &Path, kind: PointKind) -> Result<OwnedFd, Errno> {
        match self.find(path, OFlag::O_PATH) {
            Err(Errno::ENOENT) => {}
            found => return found,
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Errno::EINVAL);
        };
        let parent = self.make_point(parent, PointKind::Folder)?;
        match kind {
            PointKind::Folder => {
                nix::sys::stat::mkdirat(&parent, name, Mode::from_bits_truncate(0o755))?
            }
            PointKind::File => {
                let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC | OFlag::O_WRONLY;
                nix::fcntl::openat(&parent, name, flags, Mode::from_bits_truncate(0o644))
                    .map(drop)?;
            }
        }
        self.find(path, OFlag::O_PATH)
    }
}

/// Where an open file is, as a path of the host.
pub fn path_of(fd: &impl AsFd) -> Result<PathBuf, Error> {
    let link = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    std::fs::read_link(&link).map_err(Error::io(format!("read {link}")))
}

/// Whether `path` is `folder` or below it.
#[must_use]
pub fn is_below(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder)
}

/// Bytes of one user-visible file, not following a symbolic link at the end.
pub(crate) fn is_folder(path: &Path) -> Result<bool, Error> {
    let stat = nix::sys::stat::fstatat(nix::fcntl::AT_FDCWD, path, AtFlags::empty())
        .map_err(Error::os(format!("look at {}", path.display())))?;
    Ok(stat.st_mode & libc::S_IFMT == libc::S_IFDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_blank_in_its_path_is_read() {
        let line =
            br"36 35 98:0 /x /mnt\0402 rw,noatime master:1 - ext3 /dev/root ro,errors=continue";
        let [mounted] = &parse(line)[..] else {
            panic!("one line, one mount")
        };
        assert_eq!(mounted.point, Path::new("/mnt 2"));
        assert_eq!(mounted.kind, "ext3");
        assert!(mounted.read_only && !mounted.repeats);
        assert_eq!(parse(b""), []);
    }

    #[test]
    fn a_folder_bound_to_itself_repeats_what_is_below_and_one_bound_elsewhere_does_not() {
        let lines = b"20 1 98:0 /sub / rw - ext4 /dev/a rw\n\
            21 20 98:1 / /var rw - ext4 /dev/b rw\n\
            22 20 98:0 /sub/srv/a /srv/a rw - ext4 /dev/a rw\n\
            23 20 98:0 /sub/srv/a /srv/b rw - ext4 /dev/a rw\n\
            24 21 98:1 /lib/c /var/lib/c rw - ext4 /dev/b rw\n\
            25 21 98:0 /sub/var/lib/c /var/lib/c rw - ext4 /dev/a rw\n";
        let repeats: Vec<_> = parse(lines).iter().map(|line| line.repeats).collect();
        assert_eq!(repeats, [false, false, true, false, true, false]);
    }

    #[test]
    fn a_link_in_an_image_leads_nowhere_else() {
        let outside = tempfile::tempdir().unwrap();
        let root = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(outside.path(), root.path().join("out")).unwrap();
        let inside = Inside::open(root.path()).unwrap();
        let made = inside.make(Path::new("/out/../out/deep"), PointKind::Folder);
        // The link is absolute: inside the root it points to a path that does not exist there.
        assert!(made.is_err() || path_of(&made.unwrap()).unwrap().starts_with(root.path()));
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
        let made = inside
            .make(Path::new("/a/b/file"), PointKind::File)
            .unwrap();
        assert_eq!(path_of(&made).unwrap(), root.path().join("a/b/file"));
    }
}
