//! What CRIU knows of the kernel, kept where CRIU itself would not keep it.
//!
//! Before each freeze and thaw CRIU asks the kernel dozens of questions, which takes longer than to freeze a small program. It keeps
//! the answers in `/run/criu.kdat`, but only where `/run` is a tmpfs, because they must not outlive a boot. Where it is none, as in
//! many containers, they are kept here by boot and binary, and shown to CRIU in the shim's own mount namespace.

use crate::Error;
use crate::driver::tool::{self, Stamp};
use crate::host::mounts;
use crate::host::root::make_folder;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::statfs::{TMPFS_MAGIC, statfs};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

const SHOWN: &str = "/run/criu.kdat";

/// In the data folder.
const FOLDER: &str = "criu";

/// Shows the answers to the CRIU that this process starts from now on. To be called in a mount namespace of its own.
/// Without them CRIU is only slower, so a machine on which this does not work is no reason to fail.
pub(super) fn show(data: &Path, criu: &Path) {
    if let Err(error) = try_to_show(data, criu) {
        tracing::warn!(%error, "CRIU has to ask the kernel everything anew");
    }
}

fn try_to_show(data: &Path, criu: &Path) -> Result<(), Error> {
    let run = statfs("/run").map_err(Error::os("look at /run"))?;
    if run.filesystem_type() == TMPFS_MAGIC {
        return Ok(());
    }
    let Some(kept) = kept(data, criu)? else {
        return Ok(());
    };
    // There must be something to mount on. Another CRIU that finds it empty deletes it and asks for itself.
    File::options()
        .create(true)
        .append(true)
        .open(SHOWN)
        .map_err(Error::io(format!("make {SHOWN}")))?;
    mounts::bind(&kept, Path::new(SHOWN), false)
}

/// The file with the answers of this boot to this CRIU; `None` where it gives none.
fn kept(data: &Path, criu: &Path) -> Result<Option<PathBuf>, Error> {
    let folder = data.join(FOLDER);
    let name = format!("{}-{:016x}.kdat", boot_id()?, Stamp::of(criu)?.hash());
    let path = folder.join(name);
    if path.exists() {
        return Ok(Some(path));
    }
    let Some(answers) = ask(criu)? else {
        return Ok(None);
    };
    make_folder(&folder)?;
    let what = || format!("write {}", path.display());
    let aside = tempfile::NamedTempFile::new_in(&folder).map_err(Error::io(what()))?;
    fs::write(aside.path(), answers).map_err(Error::io(what()))?;
    aside
        .persist(&path)
        .map_err(|error| Error::io(what())(error.error))?;
    Ok(Some(path))
}

fn boot_id() -> Result<String, Error> {
    let path = "/proc/sys/kernel/random/boot_id";
    let text = fs::read_to_string(path).map_err(Error::io(format!("read {path}")))?;
    Ok(text.trim().to_owned())
}

/// Lets CRIU ask, with a tmpfs where it wants one.
fn ask(criu: &Path) -> Result<Option<Vec<u8>>, Error> {
    let criu = criu.to_owned();
    let asked = std::thread::spawn(move || -> Result<Option<Vec<u8>>, Error> {
        // Only this thread moves, and it ends with its namespace.
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS)
            .map_err(Error::os("make a mount namespace"))?;
        mounts::make_private()?;
        mount(
            Some("tmpfs"),
            "/run",
            Some("tmpfs"),
            MsFlags::empty(),
            None::<&str>,
        )
        .map_err(Error::os("mount a tmpfs"))?;
        // What it thinks of the machine as a whole does not matter here; it has asked before it says so.
        let _ = tool::output(&criu, &["check"]);
        match fs::read(SHOWN) {
            Ok(answers) => Ok(Some(answers)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io(format!("read {SHOWN}"))(error)),
        }
    });
    asked
        .join()
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}
