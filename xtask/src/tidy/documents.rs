//! Whether the documents still describe this repository: paths they name, the map, decisions, the changelog.

use super::{Tree, Violation};

/// The documents whose paths are promises.
const MAPS: [&str; 3] = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"];

/// The folders whose paths are looked up from the root.
const FOLDERS: [&str; 7] = [
    "crates/",
    "xtask/",
    "docs/",
    "scripts/",
    "bench/",
    "examples/",
    ".ci/",
];

/// What a decision page answers.
const SECTIONS: [&str; 4] = ["## Context", "## Choice", "## Cost", "## When to revisit"];

/// Finds paths and Rust files that a document names and that do not exist.
pub(crate) fn check_paths(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for map in MAPS {
        let Some(text) = tree.text(map) else {
            violations.push(format!("{map} is missing"));
            continue;
        };
        let missing = named_paths(text)
            .into_iter()
            .filter(|path| !exists(tree, path));
        violations.extend(missing.map(|path| format!("{map}: names {path}, which does not exist")));
    }
    violations
}

fn exists(tree: &Tree, path: &str) -> bool {
    if FOLDERS.iter().any(|folder| path.starts_with(folder)) {
        tree.has(path)
    } else {
        tree.has_ending(path)
    }
}

/// Paths in a text: words below one of our folders, or that end in `.rs`; up to a placeholder such as `*` or `<id>`.
fn named_paths(text: &str) -> Vec<&str> {
    let part_of_path = |c: char| c.is_ascii_alphanumeric() || "/._-*<>".contains(c);
    let words = text.split(|c: char| !part_of_path(c));
    let paths = words.filter_map(|word| {
        let word = word.strip_prefix("./").unwrap_or(word);
        let is_ours =
            FOLDERS.iter().any(|folder| word.starts_with(folder)) || word.ends_with(".rs");
        let known = word.find(['*', '<']).map_or(word, |placeholder| {
            let folder_end = word[..placeholder].rfind('/').map_or(0, |slash| slash + 1);
            &word[..folder_end]
        });
        let known = known.trim_end_matches('.');
        (is_ours && !known.is_empty() && !known.starts_with('.') || known.starts_with(".ci/"))
            .then_some(known)
    });
    paths.collect()
}

/// Finds crates that the map does not name.
pub(crate) fn check_map(tree: &Tree) -> Vec<Violation> {
    let map = tree.text("ARCHITECTURE.md").unwrap_or_default();
    let unnamed = tree
        .crates()
        .into_iter()
        .filter(|name| !map.contains(&format!("crates/{name}")));
    unnamed
        .map(|name| format!("ARCHITECTURE.md: does not name crates/{name}"))
        .collect()
}

/// Finds holes in the numbers of the decisions, and pages that leave a question open.
pub(crate) fn check_decisions(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    let pages = tree
        .paths()
        .filter(|path| path.starts_with("docs/decisions/"));
    for (index, path) in pages.enumerate() {
        let number = format!("{:04}", index + 1);
        if !path.starts_with(&format!("docs/decisions/{number}-")) {
            violations.push(format!(
                "{path}: expected number {number}: no holes, no doubles"
            ));
            break;
        }
        let text = tree.text(path).unwrap_or_default();
        if !text.starts_with(&format!("# {number}: ")) {
            violations.push(format!("{path}: begin with `# {number}: ` and the choice"));
        }
        let missing = SECTIONS
            .iter()
            .filter(|section| !text.lines().any(|line| line == **section));
        violations.extend(missing.map(|section| format!("{path}: has no section `{section}`")));
    }
    violations
}

/// Finds a changelog without a place for what comes next.
pub(crate) fn check_changelog(tree: &Tree) -> Vec<Violation> {
    let text = tree.text("CHANGELOG.md").unwrap_or_default();
    let has_section = text.lines().any(|line| line == "## Unreleased");
    if has_section {
        Vec::new()
    } else {
        vec!["CHANGELOG.md: has no section `## Unreleased`".to_owned()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths_missing(readme: &str) -> Vec<Violation> {
        let files = [
            ("README.md", readme),
            ("ARCHITECTURE.md", ""),
            ("CONTRIBUTING.md", ""),
            ("crates/core/src/plan/recovery.rs", ""),
            ("crates/core/Cargo.toml", ""),
            ("docs/decisions/0001-x.md", ""),
        ];
        check_paths(&Tree::of(&files))
    }

    #[test]
    fn a_path_that_does_not_exist_is_seen() {
        assert_eq!(
            paths_missing("see `crates/cone`."),
            ["README.md: names crates/cone, which does not exist"]
        );
        assert_eq!(paths_missing("[x](docs/decisions/0002-y.md)").len(), 1);
        assert_eq!(
            paths_missing("in `plan/gone.rs`, `covery.rs` and `./scripts/none`").len(),
            3
        );
    }

    #[test]
    fn paths_that_exist_pass_in_every_form() {
        let readme = "`crates/core/`, (crates/core/src/plan). `plan/recovery.rs` `recovery.rs` crates/core/src/plan/* \
                      `crates/<name>` docs/decisions/0001-x.md, and https://example.org/docs/none";
        assert_eq!(paths_missing(readme), Vec::<String>::new());
    }

    #[test]
    fn a_missing_document_is_seen() {
        assert_eq!(check_paths(&Tree::of(&[])).len(), MAPS.len());
    }

    #[test]
    fn a_crate_that_the_map_forgets_is_seen() {
        let tree = Tree::of(&[
            ("crates/new/Cargo.toml", ""),
            ("ARCHITECTURE.md", "| `crates/core` |"),
        ]);
        assert_eq!(
            check_map(&tree),
            ["ARCHITECTURE.md: does not name crates/new"]
        );
    }

    #[test]
    fn a_hole_or_an_open_question_among_the_decisions_is_seen() {
        let page = |number| format!("# {number}: a choice\n{}\n", SECTIONS.join("\n"));
        let (first, second, third) = (page("0001"), page("0002"), page("0003"));
        let whole = Tree::of(&[
            ("docs/decisions/0001-a.md", &first),
            ("docs/decisions/0002-b.md", &second),
        ]);
        assert!(check_decisions(&whole).is_empty());
        let hole = Tree::of(&[
            ("docs/decisions/0001-a.md", &first),
            ("docs/decisions/0003-b.md", &third),
        ]);
        assert_eq!(check_decisions(&hole).len(), 1);
        let double = Tree::of(&[
            ("docs/decisions/0001-a.md", &first),
            ("docs/decisions/0001-b.md", &first),
        ]);
        assert_eq!(check_decisions(&double).len(), 1);
        let open = Tree::of(&[(
            "docs/decisions/0001-a.md",
            "# 0001: a\n## Context\n## Choice\n## Cost\n",
        )]);
        assert_eq!(
            check_decisions(&open),
            ["docs/decisions/0001-a.md: has no section `## When to revisit`"]
        );
    }

    #[test]
    fn a_changelog_without_unreleased_is_seen() {
        assert_eq!(
            check_changelog(&Tree::of(&[("CHANGELOG.md", "## 0.1.0\n")])).len(),
            1
        );
        assert!(
            check_changelog(&Tree::of(&[(
                "CHANGELOG.md",
                "# Changes\n\n## Unreleased\n"
            )]))
            .is_empty()
        );
    }
}
