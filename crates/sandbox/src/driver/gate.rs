//! A runtime that starts while its image is still being verified, and waits for that before it wakes anything.
//!
//! ```text
//! scratch/image/<file>     the checkpoint's file under another name: a link by path would lead nowhere once CRIU is in the sandbox's root
//! scratch/image/<gate>     a pipe: the one file without which the runtime cannot go on, but which it opens only once it has
//!                          set itself up; filled when everything is verified, and empty when something is wrong
//! ```

use crate::driver::Verification;
use crate::host::root::make_folder;
use crate::{Error, files};
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// In the scratch folder.
const FOLDER: &str = "image";

/// Closed until everything is verified.
pub(super) struct Gate {
    folder: PathBuf,
    /// `None` where it is open: everything was verified before the runtime was started.
    keeper: Option<Keeper>,
}

struct Keeper {
    pipe: PathBuf,
    thread: JoinHandle<Result<(), Error>>,
}

impl Gate {
    /// Puts it before the image in `from`, at this file; the runtime finds `instead` in place of what is there by that name. Errors: `Io`; those of the verification where this cannot be done and it
    /// has to come first.
    pub(super) fn before(
        from: &Path,
        scratch: &Path,
        file: &str,
        instead: Option<(String, Vec<u8>)>,
        verification: Verification,
    ) -> Result<Self, Error> {
        let folder = scratch.join(FOLDER);
        // Of an earlier try.
        files::remove_tree(&folder)?;
        make_folder(&folder)?;
        let other = instead.as_ref().map(|(name, _)| name.as_str());
        let linked = |name: &&String| *name != file && Some(name.as_str()) != other;
        for name in files::names(from)?.iter().filter(linked) {
            if std::fs::hard_link(from.join(name), folder.join(name)).is_err() {
                // Another file system, or one without links.
                files::remove_tree(&folder)?;
                verification.wait()?;
                return Ok(Self {
                    folder: from.to_owned(),
                    keeper: None,
                });
            }
        }
        if let Some((name, content)) = &instead {
            let path = folder.join(name);
            std::fs::write(&path, content)
                .map_err(Error::io(format!("write {}", path.display())))?;
        }
        let pipe = folder.join(file);
        nix::unistd::mkfifo(&pipe, Mode::S_IRUSR | Mode::S_IWUSR)
            .map_err(Error::os(format!("make {}", pipe.display())))?;
        let (original, to) = (from.join(file), pipe.clone());
        let keep = move || keep(verification, &original, &to);
        let thread = std::thread::Builder::new()
            .name("gate".into())
            .stack_size(256 << 10)
            .spawn(keep)
            .map_err(Error::io("start a thread"))?;
        let keeper = Some(Keeper { pipe, thread });
        Ok(Self { folder, keeper })
    }

    /// What the runtime is to take for the image.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// The runtime has ended, well or not. Errors: what the verification found; else the runtime's own.
    pub(super) fn finish<T>(self, result: Result<T, Error>) -> Result<T, Error> {
        let Some(Keeper { pipe, thread }) = self.keeper else {
            return result;
        };
        // A runtime that failed early has never opened it, and the keeper waits for somebody who does.
        let opened = File::options()
            .read(true)
            .custom_flags(OFlag::O_NONBLOCK.bits())
            .open(&pipe);
        let _reader = opened.map_err(Error::io(format!("open {}", pipe.display())))?;
        let kept = thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        // Or the image's pages would stay on disk for as long as the job runs, also when a newer image has taken its place.
        files::remove_tree(&self.folder)?;
        match (kept, result) {
            (Err(bad @ Error::BadImage(_)), _) => Err(bad),
            // A runtime that failed left the pipe unread.
            (_, Err(error)) => Err(error),
            (Err(error), Ok(_)) => Err(error),
            (Ok(()), Ok(value)) => Ok(value),
        }
    }
}

fn keep(verification: Verification, original: &Path, pipe: &Path) -> Result<(), Error> {
    let verified = verification.wait();
    let what = || format!("write {}", pipe.display());
    // Comes back when the runtime has opened the other end. An end without content makes it give up.
    let mut open = File::options()
        .write(true)
        .open(pipe)
        .map_err(Error::io(what()))?;
    verified?;
    let content =
        std::fs::read(original).map_err(Error::io(format!("read {}", original.display())))?;
    open.write_all(&content).map_err(Error::io(what()))
}
