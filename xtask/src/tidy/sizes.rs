//! How long a source file may be: a ratchet. No file may cross the line; one that is over it already may only shrink.

use super::{Tree, Violation};
use std::collections::BTreeMap;

/// The line.
const LINES_MAX: usize = 500;

/// Files over the line, `lines path` each.
const RATCHET: &str = "xtask/ratchet.txt";

/// Finds files that crossed the line or grew beyond it, and entries of the list that are no longer true.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let (ratchet, mut violations) = entries(tree.text(RATCHET).unwrap_or_default());
    for (path, text) in tree.sources() {
        let lines = text.lines().count();
        violations.extend(match ratchet.get(path) {
            None if lines > LINES_MAX => Some(format!(
                "{path}: {lines} lines; split it, {LINES_MAX} is the limit"
            )),
            None => None,
            Some(_) if lines <= LINES_MAX => Some(format!(
                "{RATCHET}: {path} has {lines} lines now; remove its entry"
            )),
            Some(&listed) if lines > listed => Some(format!(
                "{path}: {lines} lines; it had {listed} and may only shrink"
            )),
            Some(&listed) if lines < listed => Some(format!(
                "{RATCHET}: {path} shrank from {listed}; enter {lines}"
            )),
            Some(_) => None,
        });
    }
    let gone = ratchet.keys().filter(|path| tree.text(path).is_none());
    violations.extend(gone.map(|path| format!("{RATCHET}: {path} does not exist")));
    violations
}

fn entries(list: &str) -> (BTreeMap<&str, usize>, Vec<Violation>) {
    let mut sizes = BTreeMap::new();
    let mut violations = Vec::new();
    for line in list
        .lines()
        .filter(|line| !line.trim().is_empty() && !line.starts_with('#'))
    {
        match line
            .split_once(' ')
            .map(|(lines, path)| (lines.parse(), path.trim()))
        {
            Some((Ok(lines), path)) => {
                sizes.insert(path, lines);
            }
            Some((Err(_), _)) | None => {
                violations.push(format!("{RATCHET}: {line:?} is not `lines path`"))
            }
        }
    }
    (sizes, violations)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(lines: usize, ratchet: &str) -> Vec<Violation> {
        check(&Tree::of(&[
            ("crates/a/src/long.rs", &"x\n".repeat(lines)),
            (RATCHET, ratchet),
        ]))
    }

    #[test]
    fn a_file_may_not_cross_the_line() {
        assert!(violations(500, "").is_empty());
        assert_eq!(
            violations(501, ""),
            ["crates/a/src/long.rs: 501 lines; split it, 500 is the limit"]
        );
    }

    #[test]
    fn a_listed_file_may_stay_but_not_grow() {
        assert!(violations(600, "# why\n600 crates/a/src/long.rs\n").is_empty());
        assert!(violations(601, "600 crates/a/src/long.rs\n")[0].contains("may only shrink"));
    }

    #[test]
    fn the_list_follows_a_file_down() {
        assert!(violations(590, "600 crates/a/src/long.rs\n")[0].contains("enter 590"));
        assert!(violations(500, "600 crates/a/src/long.rs\n")[0].contains("remove its entry"));
        assert!(violations(1, "600 crates/a/src/gone.rs\n")[0].contains("does not exist"));
        assert_eq!(violations(1, "many crates/a/src/long.rs\n").len(), 1);
    }
}
