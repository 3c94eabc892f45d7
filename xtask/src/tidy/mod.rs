//! Checks what the compiler cannot: who may depend on whom, how long files grow, and whether the documents
//! still name what exists.
//!
//! Every check is a function from the [`Tree`] to the violations it found, so its tests plant one in a small
//! tree and look whether it is seen.

mod documents;
mod edges;
mod sizes;
mod sources;
mod tree;

use anyhow::{Result, bail};
use std::path::Path;
use tree::Tree;

/// One thing that is wrong: where, and what to do.
type Violation = String;

/// Runs every check on the repository at `root`; fails naming everything that is wrong.
pub(crate) fn run(root: &Path) -> Result<()> {
    let tree = Tree::read(root)?;
    let violations = check(&tree);
    if violations.is_empty() {
        println!(
            "tidy: {} files, nothing to complain of",
            tree.paths().count()
        );
        return Ok(());
    }
    for violation in &violations {
        eprintln!("{violation}");
    }
    bail!("tidy: {} to mend", violations.len())
}

fn check(tree: &Tree) -> Vec<Violation> {
    let checks: [fn(&Tree) -> Vec<Violation>; 8] = [
        edges::check,
        sizes::check,
        sources::check_module_docs,
        sources::check_unfinished,
        documents::check_paths,
        documents::check_map,
        documents::check_decisions,
        documents::check_changelog,
    ];
    checks.iter().flat_map(|check| check(tree)).collect()
}
