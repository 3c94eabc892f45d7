//! An image as one read-only file, for virtual machines: made once, with what this machine has for it.

use super::library::{Images, Record};
use super::staging::Staging;
use super::unpack::Limits;
use crate::driver::tool;
use crate::host::mounts;
use crate::{Error, files};
use nix::sched::{CloneFlags, unshare};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room beside the files themselves in a file system that needs it.
const SPARE_BYTES: u64 = 32 << 20;

/// What kind of file it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// Small and quick; made by `mkfs.erofs`.
    Erofs,
    /// What every kernel reads; made by `mke2fs`.
    Ext4,
}

impl DiskKind {
    /// The type as the kernel calls it, and the end of the file's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Ext4 => "ext4",
        }
    }

    fn tool(self) -> &'static str {
        match self {
            Self::Erofs => "mkfs.erofs",
            Self::Ext4 => "mke2fs",
        }
    }
}

impl Images {
    /// The image as one file, made where it is not there yet. Blocks, and takes as long as copying the image. Needs root, which alone can
    /// name all owners.
    ///
    /// # Errors
    /// `Unsupported` where the tool is missing or for an ordinary user; `Tool`; `NoSpace`; `Io`.
    pub fn disk(&self, record: &Record, kind: DiskKind) -> Result<PathBuf, Error> {
        let digest: super::Digest = record.digest.parse()?;
        let place = self
            .folder
            .disks()
            .join(format!("{}.{}", digest.hex(), kind.name()));
        if place.exists() {
            return Ok(place);
        }
        let Some(program) = tool::find(kind.tool()) else {
            return Err(Error::Unsupported(format!(
                "{} is missing: install {}",
                kind.tool(),
                match kind {
                    DiskKind::Erofs => "erofs-utils",
                    DiskKind::Ext4 => "e2fsprogs",
                }
            )));
        };
        if !crate::host::userns::is_root() {
            return Err(Error::Unsupported(
                "a disk of an image is made by root only: run the daemon as root".into(),
            ));
        }
        crate::host::root::make_folder(&self.folder.disks())?;
        let staging = Staging::new(self, Limits::default())?;
        let (tree, empty) = (staging.folder("root")?, staging.folder("empty")?);
        let aside = tree.with_file_name("disk");
        let mut lowers = self.lowers(record);
        // One read-only folder alone is no overlay, and none would be nothing.
        lowers.push(empty);
        let bytes = record.bytes() + record.bytes() / 8 + SPARE_BYTES;
        let output = in_own_mounts(&tree, &lowers, || {
            make(kind, &program, &aside, &tree, bytes)
        })?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(Error::Tool {
                tool: kind.tool().to_owned(),
                status: output.status.to_string(),
                output: said.lines().last().unwrap_or_default().to_owned(),
            });
        }
        let publish = || {
            std::fs::File::open(&aside)?.sync_all()?;
            std::fs::rename(&aside, &place)?;
            files::sync_folder(&self.folder.disks())
        };
        publish().map_err(Error::io(format!("publish {}", place.display())))?;
        Ok(place)
    }
}

fn make(
    kind: DiskKind,
    program: &Path,
    file: &Path,
    tree: &Path,
    bytes: u64,
) -> std::io::Result<std::process::Output> {
    let mut command = Command::new(program);
    match kind {
        DiskKind::Erofs => command.arg("--quiet").arg("-T0").arg(file).arg(tree),
        DiskKind::Ext4 => command
            .args([
                "-q",
                "-F",
                "-t",
                "ext4",
                "-O",
                "^has_journal",
                "-E",
                "root_owner=0:0",
                "-m",
                "0",
                "-d",
            ])
            .arg(tree)
            .arg(file)
            .arg(format!("{}k", bytes.div_ceil(1024))),
    };
    command.output()
}

/// Runs `work` where the layers are mounted over each other at `tree`. Nobody else sees the mount, which is gone when this returns.
fn in_own_mounts<T: Send>(
    tree: &Path,
    lowers: &[PathBuf],
    work: impl FnOnce() -> std::io::Result<T> + Send,
) -> Result<T, Error> {
    let thread = || {
        // Of this thread alone, which ends with it.
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)
            .map_err(Error::os("make a mount namespace"))?;
        mounts::make_private()?;
        mounts::stack(lowers, tree).map_err(Error::os("stack the image's layers"))?;
        work().map_err(Error::io("run the tool that makes the disk"))
    };
    std::thread::scope(|scope| {
        scope
            .spawn(thread)
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
