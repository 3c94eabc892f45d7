//! What the child of the native driver does to its namespaces, as a list made before it exists.

use crate::Error;
use crate::driver::{Incarnation, mount_points};
use crate::host::mounts::{Inside, PointKind, is_folder};
use crate::host::process::c_string;
use crate::host::root::{Bind, Root, inside, merged};
use dauer_core::Network;
use dauer_wire::guest::GUEST_DIR;
use nix::errno::Errno;
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// Nodes of the host that every sandbox gets.
const DEVICES: [&str; 6] = ["full", "null", "random", "tty", "urandom", "zero"];

/// Usual links in `/dev`.
const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("ptmx", "pts/ptmx"),
    ("stderr", "/proc/self/fd/2"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
];

/// One step.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) action: Action,
    /// It may fail with this: what it is about does not exist on this kernel.
    pub(super) tolerated: Option<Errno>,
}

/// System calls, mostly one.
#[derive(Debug)]
pub(super) enum Action {
    /// Nothing goes to or comes from the namespace this one was copied from.
    MakePrivate,
    Bind {
        source: CString,
        target: CString,
    },
    SetReadOnly {
        target: CString,
    },
    Mount {
        kind: CString,
        target: CString,
        flags: libc::c_ulong,
        options: CString,
    },
    Folder {
        path: CString,
    },
    File {
        path: CString,
    },
    Link {
        to: CString,
        path: CString,
    },
    HostName {
        name: CString,
    },
    LoopbackUp,
    /// The new root is this mount; the old one is gone.
    Pivot {
        root: CString,
    },
}

#[derive(Default)]
struct List {
    steps: Vec<Step>,
}

impl List {
    fn add(&mut self, action: Action) {
        self.steps.push(Step {
            action,
            tolerated: None,
        });
    }

    fn add_if_there(&mut self, action: Action) {
        self.steps.push(Step {
            action,
            tolerated: Some(Errno::ENOENT),
        });
    }

    fn bind(&mut self, source: &Path, target: &Path, read_only: bool) -> Result<(), Error> {
        let (source, target) = (text(source)?, text(target)?);
        self.add(Action::Bind {
            source,
            target: target.clone(),
        });
        if read_only {
            self.add(Action::SetReadOnly { target });
        }
        Ok(())
    }
}

fn text(path: &Path) -> Result<CString, Error> {
    c_string(path.as_os_str())
}

/// Makes in the overlays, from outside and without following links out of the image, every place that something is mounted on.
pub(super) fn make_points(incarnation: &Incarnation, root: &Root) -> Result<(), Error> {
    let top = Inside::open(&merged(&incarnation.scratch))?;
    for (target, _, _) in mount_points::KERNEL {
        // /dev and /run get file systems of their own first.
        if Path::new(target).components().count() == 2 {
            top.make(Path::new(target), PointKind::Folder)?;
        }
    }
    // A mount of the host that came or went while the plan was made may have no folder below it any more.
    for piece in root.pieces.iter().skip(1) {
        top.make(&piece.point, PointKind::Folder)?;
    }
    for (bind, _) in binds(incarnation, root)? {
        if !is_on_own_folder(&bind.target) {
            let (holder, within) = holder(root, &bind.target);
            Inside::open(holder)?.make(&within, kind_of(&bind.source)?)?;
        }
    }
    Ok(())
}

fn kind_of(source: &Path) -> Result<PointKind, Error> {
    Ok(if is_folder(source)? {
        PointKind::Folder
    } else {
        PointKind::File
    })
}

/// The innermost file system that holds a path, and the path within it.
fn holder<'a>(root: &'a Root, target: &Path) -> (&'a Path, PathBuf) {
    let pieces = root
        .pieces
        .iter()
        .filter(|piece| target.starts_with(&piece.point));
    let piece = pieces
        .max_by_key(|piece| piece.point.components().count())
        .expect("the first piece is /");
    (
        &piece.merged,
        Path::new("/").join(target.strip_prefix(&piece.point).unwrap_or(target)),
    )
}

fn is_on_own_folder(target: &Path) -> bool {
    ["/run", "/dev"].iter().any(|own| target.starts_with(own))
}

/// All binds in order; true: over the kernel's file systems.
fn binds(incarnation: &Incarnation, root: &Root) -> Result<Vec<(Bind, bool)>, Error> {
    let before = root.binds.iter().cloned().map(|bind| (bind, false));
    let after = mount_points::of_spec(incarnation)?
        .into_iter()
        .map(|bind| (bind, true));
    Ok(before.chain(after).collect())
}

/// Where a bind's mount point really is below `top`, links of the image followed inside the image.
fn real_target(root: &Root, top: &Path, target: &Path) -> Result<PathBuf, Error> {
    if is_on_own_folder(target) {
        return Ok(inside(top, target));
    }
    let (holder, within) = holder(root, target);
    let point =
        crate::host::mounts::path_of(&Inside::open(holder)?.make(&within, PointKind::Folder)?)?;
    let piece = root
        .pieces
        .iter()
        .find(|piece| piece.merged == holder)
        .expect("it is one of them");
    let within = point.strip_prefix(holder).map_err(|_| {
        Error::Invalid(format!(
            "mount target {} leads out of the image",
            target.display()
        ))
    })?;
    Ok(inside(top, &piece.point).join(within))
}

/// The whole list.
pub(super) fn plan(
    incarnation: &Incarnation,
    root: &Root,
    agent: &Path,
) -> Result<Vec<Step>, Error> {
    let top = merged(&incarnation.scratch);
    let mut list = List::default();
    list.add(Action::MakePrivate);
    // What came from the shim's namespace is locked in this one; a bind of it is not, and can become the root.
    list.bind(&top, &top, false)?;
    for piece in root
        .pieces
        .iter()
        .filter(|piece| !piece.merged.starts_with(&top))
    {
        list.bind(&piece.merged, &inside(&top, &piece.point), false)?;
    }
    let binds = binds(incarnation, root)?;
    for (bind, _) in binds.iter().filter(|(_, after)| !after) {
        list.bind(&bind.source, &inside(&top, &bind.target), bind.read_only)?;
    }
    kernel_mounts(&mut list, &top)?;
    let guest = inside(&top, Path::new(GUEST_DIR));
    list.add(Action::Folder {
        path: text(&guest)?,
    });
    list.bind(agent, &guest, true)?;
    for (bind, _) in binds.iter().filter(|(_, after)| *after) {
        if is_on_own_folder(&bind.target) {
            make_on_own_folder(&mut list, &top, bind)?;
        }
        list.bind(
            &bind.source,
            &real_target(root, &top, &bind.target)?,
            bind.read_only,
        )?;
    }
    list.add(Action::HostName {
        name: text(Path::new(&incarnation.spec.host_name))?,
    });
    if incarnation.spec.network != Network::Host {
        list.add(Action::LoopbackUp);
    }
    list.add(Action::Pivot { root: text(&top)? });
    Ok(list.steps)
}

/// On a file system that the child has just made there is nothing yet, so there are no links either.
fn make_on_own_folder(list: &mut List, top: &Path, bind: &Bind) -> Result<(), Error> {
    let mut ancestors: Vec<_> = bind
        .target
        .ancestors()
        .skip(1)
        .filter(|path| path.components().count() > 2)
        .collect();
    ancestors.reverse();
    for ancestor in ancestors {
        list.add(Action::Folder {
            path: text(&inside(top, ancestor))?,
        });
    }
    let path = text(&inside(top, &bind.target))?;
    list.add(match kind_of(&bind.source)? {
        PointKind::Folder => Action::Folder { path },
        PointKind::File => Action::File { path },
    });
    Ok(())
}

fn kernel_mounts(list: &mut List, top: &Path) -> Result<(), Error> {
    for (target, kind, options) in mount_points::KERNEL {
        let path = text(&inside(top, Path::new(target)))?;
        if Path::new(target).components().count() > 2 {
            list.add(Action::Folder { path: path.clone() });
        }
        let (flags, options) = split_options(options);
        let options = c_string(options.as_ref())?;
        list.add(Action::Mount {
            kind: c_string(kind.as_ref())?,
            target: path,
            flags,
            options,
        });
        if target == "/dev" {
            devices(list, top)?;
        }
    }
    for masked in mount_points::MASKED {
        let host = Path::new(masked);
        let target = inside(top, host);
        // What the host does not have, a sandbox on the same kernel does not have either.
        if !host.exists() {
            continue;
        }
        if is_folder(host)? {
            let (kind, target) = (c"tmpfs".to_owned(), text(&target)?);
            list.add_if_there(Action::Mount {
                kind,
                target,
                flags: libc::MS_RDONLY,
                options: c"size=0k".to_owned(),
            });
        } else {
            list.add_if_there(Action::Bind {
                source: c"/dev/null".to_owned(),
                target: text(&target)?,
            });
        }
    }
    for read_only in mount_points::READ_ONLY
        .iter()
        .filter(|path| Path::new(path).exists())
    {
        let target = text(&inside(top, Path::new(read_only)))?;
        list.add_if_there(Action::Bind {
            source: target.clone(),
            target: target.clone(),
        });
        list.add_if_there(Action::SetReadOnly { target });
    }
    Ok(())
}

fn devices(list: &mut List, top: &Path) -> Result<(), Error> {
    for name in DEVICES {
        let host = Path::new("/dev").join(name);
        let target = inside(top, &host);
        list.add(Action::File {
            path: text(&target)?,
        });
        list.bind(&host, &target, false)?;
    }
    for (name, to) in LINKS {
        let path = text(&inside(top, &Path::new("/dev").join(name)))?;
        list.add(Action::Link {
            to: c_string(to.as_ref())?,
            path,
        });
    }
    Ok(())
}

/// Mount flags, and what is left for the file system.
fn split_options(options: &str) -> (libc::c_ulong, String) {
    let mut flags = 0;
    let mut rest = Vec::new();
    for option in options.split(',') {
        match option {
            "nosuid" => flags |= libc::MS_NOSUID,
            "noexec" => flags |= libc::MS_NOEXEC,
            "nodev" => flags |= libc::MS_NODEV,
            "strictatime" => flags |= libc::MS_STRICTATIME,
            "ro" => flags |= libc::MS_RDONLY,
            other => rest.push(other),
        }
    }
    (flags, rest.join(","))
}
