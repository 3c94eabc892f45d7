//! Which crate may depend on which: the table of ARCHITECTURE.md, as data.

use super::{Tree, Violation};
use std::collections::BTreeSet;

/// A crate and what of ours it may link. `dauer` composes everything and may know all.
const ALLOWED: [(&str, &[&str]); 9] = [
    ("core", &[]),
    ("wire", &[]),
    ("store", &["core"]),
    ("sandbox", &["core", "wire"]),
    ("engine", &["core", "wire", "store", "sandbox"]),
    ("server", &["core", "wire", "engine"]),
    ("client", &["wire"]),
    ("guest", &["wire"]),
    (
        "dauer",
        &[
            "core", "wire", "store", "sandbox", "engine", "server", "client",
        ],
    ),
];

/// What a crate may link; `None` for one that the table does not know. Its tests may also reach what it reaches
/// through others: a server is tested on an engine, and an engine needs a store.
fn may_link(name: &str, of_tests: bool) -> Option<BTreeSet<&'static str>> {
    let direct = |name: &str| {
        ALLOWED
            .iter()
            .find(|(from, _)| *from == name)
            .map(|(_, to)| *to)
    };
    let mut reached: BTreeSet<&str> = direct(name)?.iter().copied().collect();
    if of_tests {
        let further: Vec<&str> = reached
            .iter()
            .filter_map(|to| direct(to))
            .flatten()
            .copied()
            .collect();
        reached.extend(further);
    }
    Some(reached)
}

/// Finds edges that the table does not allow, and crates it does not know.
pub(crate) fn check(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for name in tree.crates() {
        let manifest = format!("crates/{name}/Cargo.toml");
        for edge in edges(tree.text(&manifest).unwrap_or_default()) {
            let Some(allowed) = may_link(name, edge.of_tests) else {
                violations.push(format!(
                    "{manifest}: crate {name:?} is not in the table of xtask/src/tidy/edges.rs"
                ));
                break;
            };
            // A crate's own tests may turn on its features.
            let itself = edge.of_tests && edge.to == name;
            if !itself && !allowed.contains(edge.to.as_str()) {
                violations.push(format!("{manifest}: {name} must not know {}", edge.to));
            }
        }
    }
    violations
}

/// A dependency on one of our crates.
#[derive(Debug, PartialEq, Eq)]
struct Edge {
    to: String,
    of_tests: bool,
}

/// The dependencies on `dauer-*` that a manifest declares, under whatever name and for whatever target.
fn edges(manifest: &str) -> Vec<Edge> {
    let mut edges = Vec::new();
    let mut section = String::new();
    for line in manifest.lines().map(str::trim) {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_matches(['[', ']']).to_owned();
        }
        if !section.contains("dependencies") || line.starts_with('#') {
            continue;
        }
        let of_tests = section.contains("dev-dependencies");
        // Names come as keys, in a table's header, and as `package = "…"` behind another name.
        let words = line.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        for to in words.filter_map(|word| word.strip_prefix("dauer-")) {
            let edge = Edge {
                to: to.to_owned(),
                of_tests,
            };
            if !edges.contains(&edge) {
                edges.push(edge);
            }
        }
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn violations(name: &str, manifest: &str) -> Vec<Violation> {
        check(&Tree::of(&[(
            &format!("crates/{name}/Cargo.toml"),
            manifest,
        )]))
    }

    #[test]
    fn an_edge_against_the_table_is_seen() {
        let found = violations(
            "store",
            "[dependencies]\ndauer-core.workspace = true\ndauer-sandbox.workspace = true\n",
        );
        assert_eq!(
            found,
            ["crates/store/Cargo.toml: store must not know sandbox"]
        );
        assert_eq!(
            violations(
                "core",
                "[dependencies]\ndauer-wire = { path = \"../wire\" }\n"
            )
            .len(),
            1
        );
        assert_eq!(
            violations("server", "[dependencies]\ndauer-store.workspace = true\n").len(),
            1
        );
        assert_eq!(
            violations("engine", "[dependencies]\ndauer-server.workspace = true\n").len(),
            1
        );
    }

    #[test]
    fn an_edge_cannot_hide_behind_a_name_a_target_or_a_header() {
        assert_eq!(
            violations(
                "guest",
                "[dependencies]\nx = { package = \"dauer-core\", path = \"../core\" }\n"
            )
            .len(),
            1
        );
        assert_eq!(
            violations(
                "guest",
                "[target.'cfg(unix)'.dependencies]\ndauer-core.workspace = true\n"
            )
            .len(),
            1
        );
        assert_eq!(
            violations("guest", "[dependencies.dauer-core]\nworkspace = true\n").len(),
            1
        );
        assert_eq!(
            violations(
                "guest",
                "[build-dependencies]\ndauer-core.workspace = true\n"
            )
            .len(),
            1
        );
    }

    #[test]
    fn tests_may_reach_what_their_crate_reaches_through_others() {
        assert!(
            violations(
                "server",
                "[dev-dependencies]\ndauer-store.workspace = true\n"
            )
            .is_empty()
        );
        assert_eq!(
            violations("core", "[dev-dependencies]\ndauer-store.workspace = true\n").len(),
            1
        );
        assert_eq!(
            violations(
                "server",
                "[dev-dependencies]\ndauer-client.workspace = true\n"
            )
            .len(),
            1
        );
    }

    #[test]
    fn what_the_table_allows_passes_and_an_unknown_crate_does_not() {
        assert!(
            violations(
                "engine",
                "[dependencies]\ndauer-store.workspace = true\ndauer-core.workspace = true\n"
            )
            .is_empty()
        );
        assert!(
            violations(
                "core",
                "[package]\nname = \"dauer-core\"\n[dependencies]\nserde = \"1\"\n"
            )
            .is_empty()
        );
        assert_eq!(
            violations("misc", "[dependencies]\ndauer-core.workspace = true\n").len(),
            1
        );
    }
}
