//! `docs/openapi.json`: the document of the caller API, as the built binary makes it of its code.

use crate::reference;
use anyhow::{Context, Result, bail, ensure};
use std::path::Path;
use std::process::{Command, Stdio};

const FILE: &str = "docs/openapi.json";

/// Writes the document, or with `check` fails where it is not what the code says.
pub(crate) fn run(root: &Path, check: bool) -> Result<()> {
    let binary = reference::binary(root);
    let output = Command::new(&binary)
        .arg("openapi")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("run {}; build it with scripts/build", binary.display()))?;
    ensure!(output.status.success(), "dauer openapi: {}", output.status);
    let path = root.join(FILE);
    if !check {
        return std::fs::write(&path, output.stdout).with_context(|| format!("write {FILE}"));
    }
    let present = std::fs::read(&path).with_context(|| format!("read {FILE}"))?;
    if present != output.stdout {
        bail!("{FILE} is not what the code says; run cargo xtask openapi");
    }
    println!("openapi: {FILE} is current");
    Ok(())
}
