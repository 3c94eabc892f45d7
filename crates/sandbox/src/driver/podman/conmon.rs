//! What stands before `conmon`, the process that keeps a container for Podman: a script that gives it the agent's pipes, and that has
//! it restore a frozen container where Podman asks it to create one.
//!
//! Podman would pass its own standard streams on, but then what Podman itself has to say would go where the job's output goes.

use super::tools::Tools;
use crate::Error;
use crate::driver::{AgentStdio, INSTANCE_VARIABLE};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Takes from the arguments what Podman wants to be run after the end: the shim sees the end and has the container removed. And
/// moves to the bundle: `conmon` leaves a file where it is when the kernel kills at the memory limit.
const ARGUMENTS: &str = r#"n=$#
while [ "$n" -gt 0 ]; do
    word=$1; shift; n=$((n - 1))
    case $word in
    -b) cd "$1" || exit; set -- "$@" "$word" ;;
    --exit-command|--exit-command-arg) shift; n=$((n - 1)) ;;
    *) set -- "$@" "$word" ;;
    esac
done
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
    let what = || format!("write {}", path.display());
    fs::write(
        &path,
        script(&tools.conmon, instance, stdio, from).as_bytes(),
    )
    .map_err(Error::io(what()))?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).map_err(Error::io(what()))?;
    Ok(path)
}

fn script(conmon: &Path, instance: &str, stdio: &AgentStdio, from: Option<&Image>) -> OsString {
    let pid = std::process::id();
    let conmon = quoted(conmon.as_os_str());
    let mut text = OsString::from("#!/bin/sh\n");
    // Asked by Podman before anything else.
    push(
        &mut text,
        [
            OsStr::new("[ \"$*\" = --version ] && exec "),
            &conmon,
            OsStr::new(" --version\n"),
        ],
    );
    // By this even its own helpers are found where there is no cgroup.
    push(
        &mut text,
        [OsStr::new(&format!(
            "export {INSTANCE_VARIABLE}={instance}\n"
        ))],
    );
    text.push(ARGUMENTS);
    push(
        &mut text,
        [OsStr::new("exec "), &conmon, OsStr::new(" \"$@\"")],
    );
    if let Some(image) = from {
        let option = |name: &str| OsString::from(format!(" --runtime-opt {name}"));
        push(
            &mut text,
            [OsStr::new(" --restore "), &quoted(image.folder.as_os_str())],
        );
        push(
            &mut text,
            [
                &option("--file-locks"),
                &option("--tcp-established"),
                &option("--work-path"),
            ]
            .map(OsString::as_os_str),
        );
        push(
            &mut text,
            [
                OsStr::new(" --runtime-opt "),
                &quoted(image.work.as_os_str()),
            ],
        );
    }
    for (direction, fd) in [
        ("<", &stdio.input),
        (">", &stdio.output),
        ("2>", &stdio.raw),
    ] {
        push(
            &mut text,
            [OsStr::new(&format!(
                " {direction}/proc/{pid}/fd/{}",
                fd.as_raw_fd()
            ))],
        );
    }
    text.push("\n");
    text
}

fn push<const N: usize>(text: &mut OsString, parts: [&OsStr; N]) {
    for part in parts {
        text.push(part);
    }
}

/// As one word for a shell.
fn quoted(word: &OsStr) -> OsString {
    let mut bytes = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => bytes.extend(b"'\\''"),
            byte => bytes.push(*byte),
        }
    }
    bytes.push(b'\'');
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_takes_a_quoted_word_as_it_is() {
        for word in ["plain", "a b", "it's $HOME `id` \"x\" \\", "'"] {
            let script = [b"printf %s ".to_vec(), quoted(OsStr::new(word)).into_vec()].concat();
            let output = std::process::Command::new("sh")
                .arg("-c")
                .arg(OsStr::from_bytes(&script))
                .output()
                .unwrap();
            assert_eq!(output.stdout, word.as_bytes());
        }
    }
}
