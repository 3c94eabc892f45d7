//! A folder that is put into the sandbox of a step: which of it, what it is as a digest, and a copy of it.
//!
//! What a `.gitignore` in it leaves out, and `.git` itself, is left out of both: the digest speaks of exactly what the step finds.
//! Owners and times are no part of the digest.

use crate::Error;
use dauer_sandbox::host::copy;
use ignore::WalkBuilder;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Read at once by each thread.
const READ_BYTES: usize = 256 << 10;

/// More would only wait for the disk.
const THREADS_MAX: usize = 8;

/// A list of fields that no other list gives the same bytes as.
pub(crate) struct Fields(blake3::Hasher);

impl Fields {
    /// Of this kind.
    pub(crate) fn of(kind: &str) -> Self {
        let mut fields = Self(blake3::Hasher::new());
        fields.add(kind.as_bytes());
        fields
    }

    pub(crate) fn add(&mut self, field: &[u8]) {
        self.0.update(&(field.len() as u64).to_le_bytes());
        self.0.update(field);
    }

    pub(crate) fn finish(&self) -> blake3::Hash {
        self.0.finalize()
    }
}

/// What of a folder is put into a sandbox; paths within it, parents first. Blocking.
pub(crate) fn chosen(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut walk = WalkBuilder::new(folder);
    walk.standard_filters(false)
        .git_ignore(true)
        .require_git(false)
        .filter_entry(|entry| entry.file_name() != OsStr::new(".git"))
        .sort_by_file_path(Path::cmp);
    let mut paths = Vec::new();
    for entry in walk.build() {
        let entry = entry.map_err(|error| unreadable(folder, error))?;
        let within = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        if !within.as_os_str().is_empty() {
            paths.push(within.to_owned());
        }
    }
    Ok(paths)
}

/// All of a folder.
pub(crate) fn everything(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut walk = WalkBuilder::new(folder);
    walk.standard_filters(false).sort_by_file_path(Path::cmp);
    let mut paths = Vec::new();
    for entry in walk.build() {
        let entry = entry.map_err(|error| unreadable(folder, error))?;
        let within = entry.path().strip_prefix(folder).unwrap_or(entry.path());
        paths.push(within.to_owned());
    }
    Ok(paths)
}

fn unreadable(folder: &Path, error: impl std::fmt::Display) -> Error {
    Error::Failed(format!("reading {}: {error}", folder.display()))
}

/// The digest of these paths of a folder: names, kinds, modes and contents. Files are read by several threads. Blocking.
pub(crate) fn digest(folder: &Path, paths: &[PathBuf]) -> Result<blake3::Hash, Error> {
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            let Some(within) = paths.get(number) else {
                return Ok::<_, Error>(done);
            };
            let path = folder.join(within);
            let one = digest_one(within, &path, &mut buffer);
            done.push((number, one.map_err(|error| unreadable(&path, error))?));
        }
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let helpers = cores.min(THREADS_MAX).min(paths.len()).saturating_sub(1);
    let mut digests = vec![None; paths.len()];
    std::thread::scope(|scope| {
        let helpers: Vec<_> = (0..helpers).map(|_| scope.spawn(worker)).collect();
        let mut results = vec![worker()];
        for helper in helpers {
            results.push(
                helper
                    .join()
                    .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            );
        }
        for result in results {
            for (number, digest) in result? {
                digests[number] = Some(digest);
            }
        }
        Ok::<_, Error>(())
    })?;
    let mut all = Fields::of("folder");
    for digest in digests.into_iter().flatten() {
        all.add(blake3::Hash::as_bytes(&digest));
    }
    Ok(all.finish())
}

fn digest_one(within: &Path, path: &Path, buffer: &mut [u8]) -> io::Result<blake3::Hash> {
    let meta = fs::symlink_metadata(path)?;
    let kind = meta.file_type();
    let mut fields = Fields::of("entry");
    fields.add(within.as_os_str().as_bytes());
    let mode = (meta.mode() & 0o7777).to_le_bytes();
    if kind.is_file() {
        fields.add(b"file");
        fields.add(&mode);
        let mut file = File::open(path)?;
        let mut content = blake3::Hasher::new();
        loop {
            match file.read(buffer) {
                Ok(0) => break,
                Ok(length) => {
                    content.update(&buffer[..length]);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        fields.add(content.finalize().as_bytes());
    } else if kind.is_symlink() {
        fields.add(b"link");
        fields.add(fs::read_link(path)?.as_os_str().as_bytes());
    } else if kind.is_dir() {
        fields.add(b"folder");
        fields.add(&mode);
    } else {
        // A pipe, a device or a socket: what it is, and not what comes out of it.
        fields.add(b"other");
        fields.add(&mode);
        fields.add(&[u8::from(kind.is_fifo()), u8::from(kind.is_socket())]);
        fields.add(&meta.rdev().to_le_bytes());
    }
    Ok(fields.finish())
}

/// A copy of what is put into a sandbox, in the new folder `to`. Blocking.
pub(crate) fn stage(folder: &Path, to: &Path) -> Result<(), Error> {
    let paths = chosen(folder)?;
    fs::create_dir_all(to).map_err(|error| unreadable(to, error))?;
    Ok(copy::chosen(folder, to, &paths)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put(".gitignore", "target\n*.log\n!kept.log\n");
        put("src/main.rs", "fn main() {}");
        put("src/deep/.gitignore", "secret\n");
        put("src/deep/secret", "s");
        put("src/deep/open", "o");
        put("target/debug/binary", "b");
        put("a.log", "l");
        put("kept.log", "k");
        put(".hidden", "h");
        put(".git/HEAD", "ref");
        std::os::unix::fs::symlink("src", folder.path().join("link")).unwrap();
        folder
    }

    fn digest_of(folder: &Path) -> blake3::Hash {
        digest(folder, &chosen(folder).unwrap()).unwrap()
    }

    #[test]
    fn what_gitignore_names_and_git_itself_are_left_out() {
        let folder = folder();
        let paths = chosen(folder.path()).unwrap();
        let names: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        let expected = [
            ".gitignore",
            ".hidden",
            "kept.log",
            "link",
            "src",
            "src/deep",
            "src/deep/.gitignore",
            "src/deep/open",
            "src/main.rs",
        ];
        assert_eq!(names, expected);
        let to = tempfile::tempdir().unwrap();
        let staged = to.path().join("staged");
        stage(folder.path(), &staged).unwrap();
        assert_eq!(chosen(&staged).unwrap(), paths);
        assert_eq!(digest_of(&staged), digest_of(folder.path()));
    }

    #[test]
    fn every_change_that_a_step_could_see_changes_the_digest_and_no_other() {
        let folder = folder();
        let path = |name: &str| folder.path().join(name);
        let before = digest_of(folder.path());
        fs::write(path("target/debug/binary"), "other").unwrap();
        fs::write(path("a.log"), "other").unwrap();
        fs::write(path(".git/HEAD"), "other").unwrap();
        filetime_back(&path("src/main.rs"));
        assert_eq!(digest_of(folder.path()), before);
        let mut seen = vec![before];
        let mut changed = |what: &str| {
            let now = digest_of(folder.path());
            assert!(!seen.contains(&now), "{what}");
            seen.push(now);
        };
        fs::write(path("src/main.rs"), "fn main() { }").unwrap();
        changed("content");
        fs::set_permissions(path("src/main.rs"), fs::Permissions::from_mode(0o755)).unwrap();
        changed("mode");
        fs::rename(path("src/main.rs"), path("src/lib.rs")).unwrap();
        changed("name");
        fs::create_dir(path("src/empty")).unwrap();
        changed("an empty folder");
        fs::remove_file(path("link")).unwrap();
        std::os::unix::fs::symlink("src/deep", path("link")).unwrap();
        changed("where a link leads");
        fs::write(path(".gitignore"), "").unwrap();
        changed("what is left out");
    }

    fn filetime_back(path: &Path) {
        let file = File::options().write(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH)
            .unwrap();
    }

    #[test]
    fn files_that_swap_their_contents_are_others() {
        let folder = tempfile::tempdir().unwrap();
        let write = |a: &str, b: &str| {
            fs::write(folder.path().join("a"), a).unwrap();
            fs::write(folder.path().join("b"), b).unwrap();
            digest_of(folder.path())
        };
        assert_ne!(write("1", "2"), write("2", "1"));
        assert_ne!(write("12", ""), write("1", "2"));
    }
}
