//! What every source file owes its reader: a first sentence, and no unfinished work.

use super::{Tree, Violation};

/// Macros that leave work undone or were only for looking. Written in two parts, so as not to find themselves.
const UNFINISHED: [&str; 3] = [
    concat!("todo", "!("),
    concat!("unimplemented", "!("),
    concat!("dbg", "!("),
];

/// Finds files that do not begin by saying what they are for.
pub(crate) fn check_module_docs(tree: &Tree) -> Vec<Violation> {
    let silent = tree.sources().filter(|(_, text)| !text.starts_with("//! "));
    silent
        .map(|(path, _)| format!("{path}: begin with `//!` and a sentence"))
        .collect()
}

/// Finds what was left for later.
pub(crate) fn check_unfinished(tree: &Tree) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (path, text) in tree.sources() {
        for (number, line) in text.lines().enumerate() {
            let found = UNFINISHED.iter().filter(|name| line.contains(*name));
            violations.extend(found.map(|name| format!("{path}:{}: {name}…)", number + 1)));
        }
    }
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_first_sentence_is_seen() {
        let tree = Tree::of(&[
            ("a.rs", "//! Says it.\n"),
            ("b.rs", "use x;\n//! late\n"),
            ("c.rs", ""),
            ("d.py", ""),
        ]);
        let found = check_module_docs(&tree);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("b.rs") && found[1].starts_with("c.rs"));
    }

    #[test]
    fn unfinished_work_is_seen_with_its_line() {
        for name in UNFINISHED {
            let text = format!("//! A.\nfn f() {{\n    {name})\n}}\n");
            assert_eq!(
                check_unfinished(&Tree::of(&[("a.rs", &text)])),
                [format!("a.rs:3: {name}…)")]
            );
        }
        assert!(
            check_unfinished(&Tree::of(&[("a.rs", "//! Nothing to do!\nfn todo() {}\n")]))
                .is_empty()
        );
    }
}
