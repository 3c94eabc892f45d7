//! Chores of the repository: `cargo xtask tidy`, `cargo xtask reference`, `cargo xtask openapi`.

mod openapi;
mod reference;
mod tidy;

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask lies in the repository");
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words.as_slice() {
        ["tidy"] => tidy::run(root),
        ["reference"] => reference::run(root, false),
        ["reference", "--check"] => reference::run(root, true),
        ["openapi"] => openapi::run(root, false),
        ["openapi", "--check"] => openapi::run(root, true),
        _ => Err(anyhow::anyhow!(
            "usage: cargo xtask tidy | reference [--check] | openapi [--check]"
        )),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
