//! Files of a sandbox that does not run: its root file system is put together once more, in a mount namespace of
//! its own, and the agent's tar commands run in it.
//!
//! A process of its own does this (`dauer sandbox-files`), because a mount namespace belongs to a process: when it ends, nothing is left.

use crate::driver::{self, Incarnation};
use crate::host::mounts;
use crate::host::root::{self, RECORD, Root};
use crate::snapshot::Reader;
use crate::{Error, Layout, SandboxSpec, disk, files};
use dauer_core::{CheckpointId, SandboxId};
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::unistd::{chdir, chroot, fexecve};
use std::convert::Infallible;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The files as an incarnation left them.
    Ended,
    /// The files as a checkpoint holds them; changes to them go nowhere.
    Checkpoint {
        /// Which.
        checkpoint: CheckpointId,
        /// A new folder beside the sandbox's others, for whoever runs the command to remove afterwards. The command itself cannot: in its
        /// mount namespace that folder holds the mounted files.
        scratch: PathBuf,
    },
}

/// The command that runs `tar-out PATH` or `tar-in PATH` of the agent on the files of a sandbox that does not run. Its standard
/// streams are the tar and the errors, one line.
#[must_use]
pub fn command(
    shim_binary: &Path,
    layout: &Layout,
    sandbox: (&SandboxId, u32),
    source: &Source,
    words: [&str; 2],
) -> Command {
    let (id, generation) = sandbox;
    let mut command = Command::new(shim_binary);
    command
        .arg("sandbox-files")
        .arg(layout.sandbox(id).spec(generation))
        .args(words);
    if let Source::Checkpoint {
        checkpoint,
        scratch,
    } = source
    {
        command.arg(checkpoint.as_str()).arg(scratch);
    }
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// What `main` calls for `sandbox-files SPEC tar-out|tar-in PATH [CHECKPOINT SCRATCH]`; returns the exit code. Expects one thread.
#[must_use]
pub fn run(arguments: &[String]) -> i32 {
    let (spec, words, source) = match arguments {
        [spec, verb, path] => (spec, [verb, path], Source::Ended),
        [spec, verb, path, checkpoint, scratch] => {
            let checkpoint = CheckpointId(checkpoint.clone());
            (
                spec,
                [verb, path],
                Source::Checkpoint {
                    checkpoint,
                    scratch: scratch.into(),
                },
            )
        }
        _ => {
            eprintln!("dauer: sandbox-files is for dauer itself");
            return 2;
        }
    };
    match enter(PathBuf::from(spec), words, &source) {
        Ok(never) => match never {},
        Err(error) => {
            eprintln!("dauer: {error}");
            1
        }
    }
}

fn enter(spec_path: PathBuf, words: [&String; 2], source: &Source) -> Result<Infallible, Error> {
    let spec: SandboxSpec = files::read_json(&spec_path)?.ok_or(Error::Gone)?;
    // What was injected is in the files already.
    let spec = SandboxSpec {
        inject: None,
        ..spec
    };
    let scratch = match source {
        Source::Ended => spec.layout.sandbox(&spec.id).incarnation(spec.generation),
        Source::Checkpoint {
            checkpoint,
            scratch,
        } => {
            unpack(&spec.layout, checkpoint, scratch)?;
            scratch.clone()
        }
    };
    let incarnation = Incarnation {
        instance: spec.id.instance(spec.generation),
        scratch,
        spec,
    };
    build(&incarnation)?;
    let guest = open(
        &incarnation.spec.guest_binary,
        OFlag::O_RDONLY | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .map_err(Error::os(format!(
        "open {}",
        incarnation.spec.guest_binary.display()
    )))?;
    chroot(".").map_err(Error::os("enter the files"))?;
    let word = |text: &str| {
        CString::new(text).map_err(|_| Error::Invalid(format!("{text:?} contains a NUL byte")))
    };
    let argv = [word("dauer")?, word(words[0])?, word(words[1])?];
    fexecve(&guest, &argv, &[] as &[CString]).map_err(Error::os("run the agent's tar"))
}

/// Puts the root together and makes it the working directory.
fn build(incarnation: &Incarnation) -> Result<(), Error> {
    driver::by_name(&incarnation.spec.driver)?.prepare(incarnation)?;
    let merged = root::merged(&incarnation.scratch);
    for piece in Root::plan(incarnation)?.pieces {
        if !piece.merged.starts_with(&merged) {
            mounts::bind(&piece.merged, &root::inside(&merged, &piece.point), false)?;
        }
    }
    chdir(&merged).map_err(Error::os(format!("enter {}", merged.display())))
}

/// Fills a scratch folder with a checkpoint's uppers. They are linked, not copied: a reader changes nothing.
fn unpack(layout: &Layout, checkpoint: &CheckpointId, scratch: &Path) -> Result<(), Error> {
    // Until here: a file with another name keeps its content.
    let reader = Reader::open(layout, checkpoint)?;
    let saved = reader.folder();
    for (number, (_, upper)) in reader
        .manifest()
        .saved_uppers(saved)
        .into_iter()
        .enumerate()
    {
        disk::link_tree(&upper, &scratch.join("upper").join(number.to_string()))?;
    }
    let record = saved.join("memory").join(RECORD);
    std::fs::copy(&record, scratch.join(RECORD))
        .map_err(Error::io(format!("copy {}", record.display())))?;
    Ok(())
}
