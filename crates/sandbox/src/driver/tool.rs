//! External tools: where they are, their version and digest.

use crate::Error;
use crate::host::run;
use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::Xxh3;

/// Where package managers put administrators' tools; an ordinary user's PATH often lacks them.
const EXTRA_FOLDERS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// CRIU with its own libraries, as `scripts/deps criu` installs it.
const PRIVATE_CRIU: &str = "/usr/local/lib/dauer/criu/bin/criu";

/// The executable of this name in PATH.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(EXTRA_FOLDERS.map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|candidate| {
            candidate.is_absolute()
                && candidate.is_file()
                && access(candidate, AccessFlags::X_OK).is_ok()
        })
}

/// CRIU: `$DAUER_CRIU`, the private one, then PATH.
pub(crate) fn find_criu() -> Option<PathBuf> {
    let private = Path::new(PRIVATE_CRIU);
    std::env::var_os("DAUER_CRIU")
        .map(PathBuf::from)
        .or_else(|| private.exists().then(|| private.to_path_buf()))
        .or_else(|| find("criu"))
}

/// A binary file as it was when it was looked at; another size or time means another tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    pub(crate) modified_ns: i128,
    pub(crate) inode: u64,
}

impl Stamp {
    pub(crate) fn of(path: &Path) -> Result<Self, Error> {
        let path = path
            .canonicalize()
            .map_err(Error::io(format!("find {}", path.display())))?;
        let meta =
            std::fs::metadata(&path).map_err(Error::io(format!("look at {}", path.display())))?;
        let modified_ns = i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec());
        Ok(Self {
            path,
            size: meta.len(),
            modified_ns,
            inode: meta.ino(),
        })
    }

    /// As a short name.
    pub(crate) fn hash(&self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(format!("{self:?}").as_bytes())
    }
}

/// What is known about a tool's binary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    pub(crate) stamp: Stamp,
    pub(crate) version: String,
    pub(crate) digest: String,
}

impl Known {
    /// Asks the tool and reads its binary; 20 ms and more.
    fn learn(stamp: Stamp) -> Result<Self, Error> {
        Ok(Self {
            version: version(&stamp.path)?,
            digest: digest(&stamp.path)?,
            stamp,
        })
    }

    /// The same from the cache file, if the binary is still the one it was; else learns and remembers it.
    pub(crate) fn of(binary: &Path, cache: Option<&Path>) -> Result<Self, Error> {
        let stamp = Stamp::of(binary)?;
        let mut all: Vec<Self> = cache.map(read_cache).unwrap_or_default();
        if let Some(known) = all.iter().find(|known| known.stamp == stamp) {
            return Ok(known.clone());
        }
        let known = Self::learn(stamp)?;
        if let Some(cache) = cache {
            all.retain(|other| other.stamp.path != known.stamp.path);
            all.push(known.clone());
            write_cache(cache, &all)?;
        }
        Ok(known)
    }
}

/// An unreadable or foreign cache is an empty one: everything in it can be learned again.
pub(crate) fn read_cache<T: serde::de::DeserializeOwned + Default>(cache: &Path) -> T {
    std::fs::read(cache)
        .ok()
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

pub(crate) fn write_cache<T: Serialize>(cache: &Path, value: &T) -> Result<(), Error> {
    let what = || format!("write {}", cache.display());
    let folder = cache.parent().unwrap_or(Path::new("/"));
    let file = tempfile::NamedTempFile::new_in(folder).map_err(Error::io(what()))?;
    serde_json::to_writer(&file, value).map_err(|e| Error::io(what())(e.into()))?;
    file.persist(cache)
        .map_err(|e| Error::io(what())(e.error))?;
    Ok(())
}

/// The first line of `--version`.
fn version(binary: &Path) -> Result<String, Error> {
    let output = output(binary, &["--version"])?;
    Ok(output.lines().next().unwrap_or_default().trim().to_owned())
}

/// Runs a tool that answers at once and takes what it prints.
pub(crate) fn output(binary: &Path, arguments: &[&str]) -> Result<String, Error> {
    let what = || format!("run {}", binary.display());
    let log = tempfile::NamedTempFile::new().map_err(Error::io(what()))?;
    let argv = [binary.as_os_str()]
        .into_iter()
        .chain(arguments.iter().map(OsStr::new))
        .collect();
    let tool = run::Tool {
        name: binary.display().to_string(),
        program: binary,
        argv,
        env: environment(),
        log: log.path(),
        stdio: None,
        cgroup: None,
        join: Vec::new(),
        view: run::View::Unchanged,
    };
    tool.run()?;
    std::fs::read_to_string(log.path()).map_err(Error::io(what()))
}

/// The environment of tools: nothing of the daemon's own leaks into them.
pub(crate) fn environment() -> Vec<(&'static str, &'static OsStr)> {
    vec![
        (
            "PATH",
            OsStr::new("/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ),
        ("LC_ALL", OsStr::new("C")),
    ]
}

fn digest(path: &Path) -> Result<String, Error> {
    let what = || format!("read {}", path.display());
    let mut file = File::open(path).map_err(Error::io(what()))?;
    let mut hash = Xxh3::new();
    let mut buffer = vec![0; 256 << 10];
    loop {
        match file.read(&mut buffer).map_err(Error::io(what()))? {
            0 => return Ok(format!("{:032x}", hash.digest128())),
            length => hash.update(&buffer[..length]),
        }
    }
}
