//! The root file system of a sandbox: read-only below, copy-on-write above.
//!
//! ```text
//! scratch/rootfs          overlay: the image below, scratch/upper/0 above; between them scratch/below/0 where it begins on kept files
//! scratch/mnt/<n>         image `host` as root: an overlay for each other writable file system of the machine
//! scratch/rootfs/<dir>    image `host` for an ordinary user: an overlay for each folder of /, because the kernel
//!                         refuses one over all of / in a user namespace
//! ```
//!
//! Everything is mounted in the shim's own mount namespace and vanishes with it.

use crate::disk::Layer;
use crate::driver::Incarnation;
use crate::host::mounts::{self, Inside, Overlay, PointKind};
use crate::host::userns;
use crate::spec::Origin;
use crate::{Error, SandboxSpec, files, image};
use dauer_core::Image;
use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// File systems of the kernel itself: a sandbox gets its own.
const KERNEL_KINDS: [&str; 22] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fusectl",
    "hugetlbfs",
    "mqueue",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "sysfs",
    "tracefs",
];

/// Folders that hold nothing of the machine inside a sandbox.
const OWN_FOLDERS: [&str; 4] = ["/dev", "/proc", "/run", "/sys"];

/// One copy-on-write file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it is inside.
    pub point: PathBuf,
    /// What lies below, the topmost first; at least one.
    pub lowers: Vec<PathBuf>,
    /// What it changed.
    pub upper: PathBuf,
    work: PathBuf,
    /// Where it is mounted on the host's side.
    pub merged: PathBuf,
}

impl Piece {
    /// Whether this folder may be another layer of it. The kernel refuses a layer that lies in another one, as everything does in the root of
    /// the machine.
    #[must_use]
    pub fn can_be_stacked(&self, folder: &Path) -> bool {
        self.lowers.iter().all(|lower| !folder.starts_with(lower))
    }

    fn top(&self) -> &Path {
        self.lowers.first().map_or(Path::new("/"), PathBuf::as_path)
    }
}

/// A folder or file of the host made visible inside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bind {
    /// On the host.
    pub source: PathBuf,
    /// Inside.
    pub target: PathBuf,
    /// Writing is refused.
    pub read_only: bool,
}

/// What the root of one incarnation is made of.
#[derive(Clone, Debug, Default)]
pub struct Root {
    /// The first is `/`.
    pub pieces: Vec<Piece>,
    /// Over the pieces, in this order.
    pub binds: Vec<Bind>,
    /// For an ordinary user: what is not covered by a piece, made anew.
    skeleton: Vec<(PathBuf, Bone)>,
}

/// In the scratch folder, and in each checkpoint beside the memory: what the root is made of. Mounts of the host come and go, but a
/// sandbox keeps those it began with, over all its freezes.
pub const RECORD: &str = "root.json";

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    pieces: Vec<PathBuf>,
    binds: Vec<Bind>,
}

#[derive(Clone, Debug)]
enum Bone {
    Folder,
    File,
    Link(PathBuf),
}

/// `scratch/rootfs`.
#[must_use]
pub fn merged(scratch: &Path) -> PathBuf {
    scratch.join("rootfs")
}

/// What the piece of this number is stacked on, between the image and its upper folder: files that something else left. Nothing is there for
/// a sandbox that begins on its image alone.
#[must_use]
pub fn below(scratch: &Path, number: usize) -> PathBuf {
    scratch.join("below").join(number.to_string())
}

/// The same for all pieces (mount point inside, upper folder), in their order, as far as there is something.
pub(crate) fn stacked(scratch: &Path, uppers: &[(String, PathBuf)]) -> Vec<Layer> {
    let layer = |(number, (point, _)): (usize, &(String, PathBuf))| Layer {
        folder: below(scratch, number),
        point: PathBuf::from(point),
    };
    let layers = uppers.iter().enumerate().map(layer);
    layers.filter(|layer| layer.folder.exists()).collect()
}

impl Root {
    /// What it is, or will be, made of. Changes nothing but unpacking a tar image that is not unpacked yet.
    pub fn plan(incarnation: &Incarnation) -> Result<Self, Error> {
        let mut root = Self::plan_anew(incarnation)?;
        if let Some(record) = recorded(incarnation)? {
            root.conform(record, &incarnation.scratch);
        }
        for (number, piece) in root.pieces.iter_mut().enumerate() {
            let below = below(&incarnation.scratch, number);
            if below.exists() {
                piece.lowers.insert(0, below);
            }
        }
        Ok(root)
    }

    /// Writes down what it is made of, for all plans of this sandbox to come.
    pub fn record(&self, scratch: &Path) -> Result<(), Error> {
        let record = Record {
            pieces: self
                .pieces
                .iter()
                .map(|piece| piece.point.clone())
                .collect(),
            binds: self.binds.clone(),
        };
        files::write_json(&scratch.join(RECORD), &record, files::Durable::No)
    }

    /// Makes it what it was when the sandbox began. Where the host has something no longer, there is an empty folder below.
    fn conform(&mut self, record: Record, scratch: &Path) {
        let now = std::mem::take(&mut self.pieces);
        let nothing = scratch.join("empty");
        for (number, point) in record.pieces.into_iter().enumerate() {
            let known = now.iter().find(|piece| piece.point == point);
            let lowers = known.map_or_else(|| vec![nothing.clone()], |piece| piece.lowers.clone());
            let merged = match number {
                0 => merged(scratch),
                _ if userns::is_root() => scratch.join("mnt").join(number.to_string()),
                _ => inside(&merged(scratch), &point),
            };
            self.add_piece(scratch, point, lowers, merged);
        }
        self.binds = record.binds;
        for bind in &mut self.binds {
            if !bind.source.exists() {
                bind.source.clone_from(&nothing);
            }
        }
    }

    fn plan_anew(incarnation: &Incarnation) -> Result<Self, Error> {
        let spec = &incarnation.spec;
        let scratch = &incarnation.scratch;
        let mut root = Self::default();
        match &spec.image {
            Image::Host if userns::is_root() => root.plan_host(spec, scratch)?,
            Image::Host => root.plan_host_by_folders(spec, scratch)?,
            Image::Directory(_) | Image::Tar(_) | Image::Oci { .. } => {
                let mut lowers = image::lowers(&spec.layout, &spec.image)?;
                if lowers.is_empty() {
                    lowers.push(scratch.join("empty"));
                }
                root.add_piece(scratch, PathBuf::from("/"), lowers, merged(scratch));
            }
        }
        Ok(root)
    }

    fn add_piece(&mut self, scratch: &Path, point: PathBuf, lowers: Vec<PathBuf>, merged: PathBuf) {
        let number = self.pieces.len().to_string();
        self.pieces.push(Piece {
            point,
            lowers,
            upper: scratch.join("upper").join(&number),
            work: scratch.join("work").join(&number),
            merged,
        });
    }

    fn plan_host(&mut self, spec: &SandboxSpec, scratch: &Path) -> Result<(), Error> {
        self.add_piece(
            scratch,
            PathBuf::from("/"),
            vec![PathBuf::from("/")],
            merged(scratch),
        );
        for mounted in submounts(spec)? {
            if mounted.read_only || !mounts::is_folder(&mounted.point)? {
                let target = mounted.point.clone();
                self.binds.push(Bind {
                    source: mounted.point,
                    target,
                    read_only: true,
                });
            } else {
                let over = scratch.join("mnt").join(self.pieces.len().to_string());
                self.add_piece(scratch, mounted.point.clone(), vec![mounted.point], over);
            }
        }
        Ok(())
    }

    fn plan_host_by_folders(&mut self, spec: &SandboxSpec, scratch: &Path) -> Result<(), Error> {
        self.add_piece(
            scratch,
            PathBuf::from("/"),
            vec![scratch.join("skeleton")],
            merged(scratch),
        );
        let private = private_folders(spec)?;
        let mut points: Vec<_> = mounts::mounted()?
            .into_iter()
            .map(|mounted| mounted.point)
            .collect();
        // The shim's own mounts are there: with them the plan would be another one after it was carried out than before.
        points.retain(|point| !private.iter().any(|folder| point.starts_with(folder)));
        // The kernel copies no folder up whose owner this user cannot name, but the top of an overlay needs no copying up.
        points.push(PathBuf::from("/var/tmp"));
        self.split(Path::new("/"), &points, &private, scratch)
    }

    /// A folder with mounts below it cannot be a lower folder in a user namespace: its entries are taken one by one.
    fn split(
        &mut self,
        folder: &Path,
        points: &[PathBuf],
        private: &[PathBuf],
        scratch: &Path,
    ) -> Result<(), Error> {
        let Ok(entries) = fs::read_dir(folder) else {
            // This user may not look into it, so nothing in it is visible inside either.
            return Ok(());
        };
        let mut entries: Vec<_> = entries.flatten().collect();
        entries.sort_by_key(std::fs::DirEntry::file_name);
        for entry in entries {
            let path = entry.path();
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_symlink() {
                let to =
                    fs::read_link(&path).map_err(Error::io(format!("read {}", path.display())))?;
                self.skeleton.push((path, Bone::Link(to)));
            } else if kind.is_dir() {
                self.skeleton.push((path.clone(), Bone::Folder));
                if OWN_FOLDERS.iter().any(|own| path == Path::new(own)) || private.contains(&path) {
                    continue;
                }
                if points
                    .iter()
                    .any(|point| point != &path && point.starts_with(&path))
                {
                    self.split(&path, points, private, scratch)?;
                } else if nix::unistd::access(&path, nix::unistd::AccessFlags::X_OK).is_ok() {
                    let merged = inside(&merged(scratch), &path);
                    self.add_piece(scratch, path.clone(), vec![path], merged);
                }
            } else if kind.is_file() && !kind.is_block_device() {
                self.skeleton.push((path.clone(), Bone::File));
                self.binds.push(Bind {
                    source: path.clone(),
                    target: path,
                    read_only: true,
                });
            }
        }
        Ok(())
    }

    /// Mounts the pieces and adds the spec's own binds. Call it in the shim's mount namespace.
    pub fn build(&self, incarnation: &Incarnation) -> Result<(), Error> {
        let user_attributes = !userns::is_root();
        let skeleton = incarnation.scratch.join("skeleton");
        if !self.skeleton.is_empty() {
            make_folder(&skeleton)?;
        }
        for (path, bone) in &self.skeleton {
            grow(&inside(&skeleton, path), bone)?;
        }
        for piece in &self.pieces {
            for folder in [&piece.upper, &piece.work] {
                make_folder(folder)?;
            }
            // For an ordinary user the skeleton below already has the folder; making it is only for the others.
            if !piece.merged.exists() {
                make_folder(&piece.merged)?;
            }
            take_over_top(piece)?;
            let overlay = Overlay {
                lowers: &piece.lowers,
                upper: &piece.upper,
                work: &piece.work,
                user_attributes,
            };
            overlay
                .mount(&piece.merged)
                .map_err(|errno| refused(piece, errno))?;
        }
        if let (Origin::Fresh, Image::Oci { .. }, Some(workdir)) = (
            &incarnation.spec.origin,
            &incarnation.spec.image,
            &incarnation.spec.workdir,
        ) {
            // As everywhere: the folder that an image names need not be in it.
            let top = Inside::open(&merged(&incarnation.scratch))?;
            top.make(Path::new(workdir), PointKind::Folder)?;
        }
        if inject_is_due(&incarnation.spec.origin)
            && let Some(inject) = &incarnation.spec.inject
        {
            self.inject(
                Path::new(inject),
                incarnation.spec.workdir.as_deref().unwrap_or("/"),
            )?;
        }
        Ok(())
    }

    fn inject(&self, from: &Path, workdir: &str) -> Result<(), Error> {
        let workdir = Path::new(workdir);
        // The innermost piece that holds the folder; `/` holds everything.
        let piece = self
            .pieces
            .iter()
            .filter(|piece| workdir.starts_with(&piece.point))
            .max_by_key(|piece| piece.point.components().count());
        let piece = piece.expect("the first piece is /");
        let within = Path::new("/").join(workdir.strip_prefix(&piece.point).unwrap_or(workdir));
        let target = Inside::open(&piece.merged)?.make(&within, PointKind::Folder)?;
        crate::host::copy::tree(from, &mounts::path_of(&target)?)
    }
}

/// Whether the program is about to begin: what goes on has what was injected in its files already.
fn inject_is_due(origin: &Origin) -> bool {
    match origin {
        Origin::Fresh | Origin::Files { .. } => true,
        Origin::Checkpoint { .. } => false,
    }
}

/// What this incarnation was made of, or the one that its checkpoint was taken of.
fn recorded(incarnation: &Incarnation) -> Result<Option<Record>, Error> {
    let own = files::read_json(&incarnation.scratch.join(RECORD))?;
    match incarnation.spec.origin.checkpoint() {
        Some(checkpoint) if own.is_none() => {
            let saved = incarnation.spec.layout.snapshot(checkpoint);
            files::read_json(&saved.join("memory").join(RECORD))
        }
        Some(_) | None => Ok(own),
    }
}

/// The top of an upper folder is what the sandbox sees as the owner and mode of the mount point.
fn take_over_top(piece: &Piece) -> Result<(), Error> {
    let top = piece.top();
    let what = || format!("copy owner and mode of {}", top.display());
    let lower = fs::metadata(top).map_err(Error::io(what()))?;
    fs::set_permissions(
        &piece.upper,
        fs::Permissions::from_mode(lower.mode() & 0o7777),
    )
    .map_err(Error::io(what()))?;
    if userns::is_root() {
        std::os::unix::fs::chown(&piece.upper, Some(lower.uid()), Some(lower.gid()))
            .map_err(Error::io(what()))?;
    }
    Ok(())
}

fn grow(path: &Path, bone: &Bone) -> Result<(), Error> {
    let made = match bone {
        Bone::Folder => fs::create_dir_all(path),
        Bone::File => fs::File::create(path).map(drop),
        Bone::Link(to) => std::os::unix::fs::symlink(to, path),
    };
    match made {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map_err(Error::io(format!("make {}", path.display()))),
    }
}

fn refused(piece: &Piece, errno: Errno) -> Error {
    let point = piece.point.display();
    match errno {
        Errno::EINVAL | Errno::ELOOP | Errno::EOPNOTSUPP => Error::Unsupported(format!(
            "the kernel refuses a copy-on-write view of {} ({errno}): use another image or keep --data-dir on another file system",
            piece.top().display()
        )),
        errno => Error::os(format!("mount the overlay for {point}"))(errno),
    }
}

pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io(format!("make {}", path.display())))
}

/// `path` (absolute) as it is below `root`.
#[must_use]
pub fn inside(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The daemon's own folders: nothing of them may be seen inside.
pub fn private_folders(spec: &SandboxSpec) -> Result<Vec<PathBuf>, Error> {
    [&spec.layout.data, &spec.layout.run]
        .into_iter()
        .filter(|folder| folder.exists())
        .map(|folder| {
            folder
                .canonicalize()
                .map_err(Error::io(format!("find {}", folder.display())))
        })
        .collect()
}

/// The mounts below `/` that belong to the machine's files.
fn submounts(spec: &SandboxSpec) -> Result<Vec<mounts::Mounted>, Error> {
    let private = private_folders(spec)?;
    let mut found: Vec<mounts::Mounted> = Vec::new();
    for mounted in mounts::mounted()? {
        let below = |folder: &Path| mounted.point.starts_with(folder);
        let own = OWN_FOLDERS.iter().any(|own| below(Path::new(own)));
        let unwanted =
            mounted.point == Path::new("/") || own || private.iter().any(|folder| below(folder));
        // Overlays below / are roots of other containers.
        if unwanted || KERNEL_KINDS.contains(&mounted.kind.as_str()) || mounted.kind == "overlay" {
            continue;
        }
        // A later mount at the same place hides the earlier one, and one above it hides all below.
        found.retain(|earlier| !earlier.point.starts_with(&mounted.point));
        // What is below shows the same, and goes on doing so when this is gone: such mounts come and go with the programs that make them.
        if !mounted.repeats || mounted.read_only {
            found.push(mounted);
        }
    }
    Ok(found)
}
