//! Shell scripts that stand before other programs and change what they are told.

use crate::Error;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// The first line.
pub(super) const BEGIN: &str = "#!/bin/sh\n";

/// Goes through all arguments; each of `cases` takes one away, or changes it, and the rest stays. `$n` are still to come.
pub(super) fn without(cases: &str) -> OsString {
    let text =
        "n=$#\nwhile [ \"$n\" -gt 0 ]; do\n    word=$1; shift; n=$((n - 1))\n    case $word in\n";
    format!("{text}{cases}    *) set -- \"$@\" \"$word\" ;;\n    esac\ndone\n").into()
}

/// Puts it there whole, so that nobody ever runs half of it.
pub(super) fn write(path: &Path, text: &OsStr) -> Result<(), Error> {
    let what = || format!("write {}", path.display());
    let folder = path.parent().expect("it is in a folder of ours");
    let aside = tempfile::NamedTempFile::new_in(folder).map_err(Error::io(what()))?;
    fs::write(aside.path(), text.as_bytes()).map_err(Error::io(what()))?;
    let executable = fs::Permissions::from_mode(0o700);
    fs::set_permissions(aside.path(), executable).map_err(Error::io(what()))?;
    // Closed before its name is known: the kernel runs no file that somebody has open for writing.
    let kept = aside.into_temp_path().persist(path);
    kept.map_err(|error| Error::io(what())(error.error))
}

pub(super) fn push<const N: usize>(text: &mut OsString, parts: [&OsStr; N]) {
    for part in parts {
        text.push(part);
    }
}

/// As one word for a shell.
pub(super) fn quoted(word: &OsStr) -> OsString {
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
    use std::process::Command;

    fn output_of(script: &OsStr, arguments: &[&str]) -> Vec<u8> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg("sh").args(arguments);
        command.output().unwrap().stdout
    }

    #[test]
    fn a_shell_takes_a_quoted_word_as_it_is() {
        for word in ["plain", "a b", "it's $HOME `id` \"x\" \\", "'"] {
            let mut script = OsString::from("printf %s ");
            script.push(quoted(OsStr::new(word)));
            assert_eq!(output_of(&script, &[]), word.as_bytes());
        }
    }

    #[test]
    fn arguments_are_taken_away_and_the_others_keep_order_and_spaces() {
        let mut script = without("    --drop) shift; n=$((n - 1)) ;;\n");
        script.push("printf '[%s]' \"$@\"");
        let words = ["a b", "--drop", "x", "", "--keep", "--drop", "y z", "'"];
        assert_eq!(output_of(&script, &words), b"[a b][][--keep][']");
    }
}
