//! What stands before `conmon`, the process that keeps a container for Podman: a script that gives it the agent's pipes, and that has
//! it restore a frozen container where Podman asks it to create one.
//!
//! Podman would pass its own standard streams on, but then what Podman itself has to say would go where the job's output goes.

use super::script;
use super::tools::Tools;
use crate::Error;
use crate::driver::{AgentStdio, INSTANCE_VARIABLE};
use std::ffi::{OsStr, OsString};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Takes from the arguments what Podman wants to be run after the end: the shim sees the end and has the container removed. And
/// moves to the bundle: `conmon` leaves a file where it is when the kernel kills at the memory limit.
const ARGUMENTS: &str = r#"    -b) cd "$1" || exit; set -- "$@" "$word" ;;
    --exit-command|--exit-command-arg) shift; n=$((n - 1)) ;;
"#;

/// What a restore reads and writes.
pub(super) struct Image {
    /// As CRIU wrote it.
    pub(super) folder: PathBuf,
    /// Where CRIU leaves its log.
    pub(super) work: PathBuf,
}

/// Writes the script into `folder`. It works as long as `stdio` is open in this process.
pub(super) fn write(
    folder: &Path,
    tools: &Tools,
    instance: &str,
    stdio: &AgentStdio,
    from: Option<&Image>,
) -> Result<PathBuf, Error> {
    let path = folder.join("conmon");
    script::write(&path, &lines(&tools.conmon, instance, stdio, from))?;
    Ok(path)
}

fn lines(conmon: &Path, instance: &str, stdio: &AgentStdio, from: Option<&Image>) -> OsString {
    let pid = std::process::id();
    let conmon = script::quoted(conmon.as_os_str());
    let mut text = OsString::from(script::BEGIN);
    let mut add = |parts: [&OsStr; 3]| script::push(&mut text, parts);
    let (nothing, new_line) = (OsStr::new(""), OsStr::new("\n"));
    // Asked by Podman before anything else.
    let asked = OsStr::new("[ \"$*\" = --version ] && exec ");
    add([asked, &conmon, OsStr::new(" --version\n")]);
    // By this even its own helpers are found where there is no cgroup.
    let named = format!("export {INSTANCE_VARIABLE}={instance}\n");
    add([OsStr::new(&named), &script::without(ARGUMENTS), nothing]);
    add([OsStr::new("exec "), &conmon, OsStr::new(" \"$@\"")]);
    if let Some(image) = from {
        let (folder, work) = (image.folder.as_os_str(), image.work.as_os_str());
        add([OsStr::new(" --restore "), &script::quoted(folder), nothing]);
        let options = " --runtime-opt --file-locks --runtime-opt --tcp-established";
        add([
            OsStr::new(options),
            OsStr::new(" --runtime-opt --work-path"),
            nothing,
        ]);
        add([
            OsStr::new(" --runtime-opt "),
            &script::quoted(work),
            nothing,
        ]);
    }
    for (direction, fd) in [
        ("<", &stdio.input),
        (">", &stdio.output),
        ("2>", &stdio.raw),
    ] {
        let stream = format!(" {direction}/proc/{pid}/fd/{}", fd.as_raw_fd());
        add([OsStr::new(&stream), nothing, nothing]);
    }
    add([new_line, nothing, nothing]);
    text
}
