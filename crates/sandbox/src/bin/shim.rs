//! The shim alone, as a program of its own: what `dauer shim` is, without the rest of `dauer`. The tests of this crate run it.

use std::path::Path;

fn main() {
    let arguments: Vec<std::ffi::OsString> = std::env::args_os().collect();
    match (
        arguments.get(1).and_then(|word| word.to_str()),
        arguments.get(2),
    ) {
        (Some("shim"), Some(spec)) => std::process::exit(dauer_sandbox::shim::run(Path::new(spec))),
        _ => {
            eprintln!("usage: dauer-shim shim SPEC.JSON");
            std::process::exit(2);
        }
    }
}
