//! The repository as the checks see it: paths and their text, nothing that is built or hidden.

use anyhow::{Context, Result};
use std::collections::BTreeMap;
use std::path::Path;
use walkdir::{DirEntry, WalkDir};

/// Text of every file, by its path from the root with `/` between.
pub(crate) struct Tree {
    files: BTreeMap<String, String>,
}

impl Tree {
    /// Reads what lies below `root`, except `target` and hidden folders.
    pub(crate) fn read(root: &Path) -> Result<Self> {
        let mut files = BTreeMap::new();
        let walk = WalkDir::new(root).into_iter();
        for entry in walk.filter_entry(|entry| entry.depth() == 0 || is_ours(entry)) {
            let entry = entry.context("walk the repository")?;
            if !entry.file_type().is_file() {
                continue;
            }
            let path = entry.path().strip_prefix(root).expect("walked from root");
            let path = path.to_string_lossy().replace('\\', "/");
            let bytes = std::fs::read(entry.path()).with_context(|| format!("read {path}"))?;
            // Only text is looked into; a picture is there, and empty.
            files.insert(path, String::from_utf8(bytes).unwrap_or_default());
        }
        Ok(Self { files })
    }

    /// A tree made of these files.
    #[cfg(test)]
    pub(crate) fn of(files: &[(&str, &str)]) -> Self {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Self {
            files: files.collect(),
        }
    }

    /// Every path, sorted.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// The text of a file that is there.
    pub(crate) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Rust sources with their text.
    pub(crate) fn sources(&self) -> impl Iterator<Item = (&str, &str)> {
        let files = self
            .files
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()));
        files.filter(|(path, _)| path.ends_with(".rs"))
    }

    /// Whether a file or a folder has this path.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let folder = format!("{path}/");
        self.files.contains_key(path) || self.paths().any(|file| file.starts_with(&folder))
    }

    /// Whether some file or folder's path ends with these whole parts.
    pub(crate) fn has_ending(&self, path: &str) -> bool {
        let path = path.trim_end_matches('/');
        let (inner, end) = (format!("/{path}/"), format!("/{path}"));
        self.has(path)
            || self
                .paths()
                .any(|file| file.ends_with(&end) || file.contains(&inner))
    }

    /// Names of the folders in `crates/`.
    pub(crate) fn crates(&self) -> Vec<&str> {
        let manifests = self.paths().filter_map(|path| {
            let name = path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
            (!name.contains('/')).then_some(name)
        });
        manifests.collect()
    }
}

fn is_ours(entry: &DirEntry) -> bool {
    let name = entry.file_name().to_string_lossy();
    let is_hidden = name.starts_with('.') && name != ".ci";
    !is_hidden && !["target", "__pycache__", "node_modules", "dist"].contains(&&*name)
}
