//! One suite for every driver: what a shim and a daemon rely on, tried with the real guest agent and real programs.
//!
//! Each case runs in a process of its own, as a shim does, because preparing changes the process. Afterwards the machine is looked over:
//! whatever carries the instance's name and is still there is a failure too.

mod cases;
mod files;
mod freezing;
mod limits;
mod sandbox;

use super::{Driver, by_name};
use crate::Layout;
use crate::host::process;
use dauer_core::SandboxId;
use nix::unistd::{ForkResult, fork};
use sandbox::Failure;
use std::io::Read;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A case that is not done by then hangs.
const CASE_MAX: Duration = Duration::from_secs(60);

/// What all cases share.
pub struct Bench {
    driver: String,
    layout: Layout,
    guest: PathBuf,
    /// Any folder that the sandboxes' own does not contain.
    elsewhere: PathBuf,
}

/// One claim.
struct Case {
    name: &'static str,
    needs: Needs,
    run: fn(&Bench) -> Result<(), Failure>,
}

/// What a case cannot do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Needs {
    Nothing,
    Root,
    Checkpoints,
    Nat,
    NatAndCheckpoints,
}

impl Bench {
    /// `folder` is empty, on a real file system, and not below a folder this user cannot enter.
    #[must_use]
    pub fn new(driver: &str, folder: &Path, guest: &Path) -> Self {
        let layout = Layout {
            data: folder.join("data"),
            run: folder.join("run"),
        };
        Self {
            driver: driver.to_owned(),
            layout,
            guest: guest.to_path_buf(),
            elsewhere: folder.join("elsewhere"),
        }
    }

    fn driver(&self) -> std::sync::Arc<dyn Driver> {
        by_name(&self.driver).expect("the bench is made for a driver that exists")
    }

    /// Runs all cases whose name contains `filter` and prints a line for each. Returns how many failed.
    ///
    /// # Panics
    /// When the folder cannot be written to.
    #[must_use]
    pub fn run(&self, filter: &str) -> usize {
        for folder in [&self.layout.data, &self.layout.run, &self.elsewhere] {
            std::fs::create_dir_all(folder).expect("the bench's folder can be written to");
        }
        let mut failed = 0;
        let all = [cases::ALL, files::ALL, limits::ALL, freezing::ALL];
        for case in all
            .into_iter()
            .flatten()
            .filter(|case| case.name.contains(filter))
        {
            if let Some(why) = self.lacking(case.needs) {
                println!("skipped: {} {}: {why}", self.driver, case.name);
                continue;
            }
            let start = Instant::now();
            let outcome = self
                .in_a_process(case)
                .and_then(|()| self.nothing_is_left());
            let ms = start.elapsed().as_millis();
            match outcome {
                Ok(()) => println!("ok: {} {} ({ms} ms)", self.driver, case.name),
                Err(failure) => {
                    failed += 1;
                    println!("FAILED: {} {} ({ms} ms): {failure}", self.driver, case.name);
                }
            }
        }
        failed
    }

    fn lacking(&self, needs: Needs) -> Option<String> {
        let root = crate::host::userns::is_root();
        let without_root = || (!root).then(|| "needs root".to_owned());
        let without_nat = || {
            (!root || super::tool::find("nft").is_none()).then(|| "needs root and nft".to_owned())
        };
        let without_checkpoints = || {
            self.driver()
                .checkpointer()
                .is_none()
                .then(|| "this driver cannot freeze memory here".to_owned())
        };
        match needs {
            Needs::Nothing => None,
            Needs::Root => without_root(),
            Needs::Nat => without_nat(),
            Needs::Checkpoints => without_checkpoints(),
            Needs::NatAndCheckpoints => without_nat().or_else(without_checkpoints),
        }
    }

    fn in_a_process(&self, case: &Case) -> Result<(), Failure> {
        let (read, write) = nix::unistd::pipe()?;
        // SAFETY: the suite runs in a program with one thread.
        match unsafe { fork() }? {
            ForkResult::Child => {
                drop(read);
                let text = match (case.run)(self) {
                    Ok(()) => String::new(),
                    Err(failure) => failure.to_string(),
                };
                let mut write = std::fs::File::from(write);
                // Without a report the parent sees one that is not whole.
                let _ = std::io::Write::write_all(&mut write, format!("{text}\0").as_bytes());
                // SAFETY: leaves at once, without the parent's own end.
                unsafe { libc::_exit(0) }
            }
            ForkResult::Parent { child } => {
                drop(write);
                let mut text = String::new();
                let ended = wait_for(child.as_raw())?;
                if !ended {
                    return Err("it hangs".into());
                }
                std::fs::File::from(read).read_to_string(&mut text)?;
                match text.strip_suffix('\0') {
                    Some("") => Ok(()),
                    Some(failure) => Err(failure.to_owned().into()),
                    None => Err("it panicked".into()),
                }
            }
        }
    }

    /// Looks for everything that carries a name of this bench's sandboxes.
    fn nothing_is_left(&self) -> Result<(), Failure> {
        let folders = std::fs::read_dir(self.layout.sandboxes())
            .into_iter()
            .flatten()
            .flatten();
        for folder in folders {
            let id = SandboxId(folder.file_name().to_string_lossy().into_owned());
            for generation in 1..=9 {
                let instance = id.instance(generation);
                let scratch = self.layout.sandbox(&id).incarnation(generation);
                let left = process::of_instance(&instance, &scratch)?;
                if !left.is_empty() {
                    return Err(format!("processes of {instance} are left: {left:?}").into());
                }
                if let Some(path) = find_cgroup(&instance) {
                    return Err(format!("cgroup {} is left", path.display()).into());
                }
            }
            std::fs::remove_dir_all(folder.path())?;
        }
        let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
        let data = self.layout.data.to_string_lossy().into_owned();
        match mounts.lines().find(|line| line.contains(&data)) {
            Some(line) => Err(format!("a mount is left: {line}").into()),
            None => Ok(()),
        }
    }
}

fn wait_for(child: i32) -> Result<bool, Failure> {
    // SAFETY: plain system calls on our own child; the descriptor is new.
    let pidfd = unsafe {
        let fd = nix::errno::Errno::result(libc::syscall(libc::SYS_pidfd_open, child, 0))?;
        OwnedFd::from_raw_fd(i32::try_from(fd).expect("descriptors are small"))
    };
    let ended = process::wait_readable(pidfd.as_fd(), Instant::now() + CASE_MAX)?;
    if !ended {
        // SAFETY: not waited for yet, so the number is still this child's.
        unsafe { libc::kill(child, libc::SIGKILL) };
    }
    process::Child { pid: child, pidfd }.wait()?;
    Ok(ended)
}

/// In any hierarchy, two levels deep: `dauer/<instance>`.
fn find_cgroup(instance: &str) -> Option<PathBuf> {
    let top = Path::new("/sys/fs/cgroup");
    let hierarchies = std::fs::read_dir(top)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    hierarchies
        .chain([top.to_path_buf()])
        .map(|path| path.join("dauer").join(instance))
        .find(|path| path.exists())
}
