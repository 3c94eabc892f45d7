//! A stream into a checkpoint's folder. Nothing of it is believed: every name, length and digest is checked, and what is wrong leaves nothing.

use super::entry::{self, Kind};
use super::{AGENT_BYTES_MAX, DATA_BYTES_MAX, LENGTH_MAX, MAGIC, Record, STREAM_VERSION};
use crate::driver::agent;
use crate::snapshot::digest::escaped;
use crate::snapshot::{self, Manifest};
use crate::{Error, Layout, files};
use dauer_core::CheckpointId;
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Read at once.
const READ_BYTES: usize = 256 << 10;

/// What a stream says of itself before anything else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// [`STREAM_VERSION`] of the writer.
    pub format_version: u32,
    /// Of the checkpoint, as it was where it was taken.
    pub manifest: Manifest,
    /// XXH3-128 of the agent inside, which travels with it; absent where there is none.
    pub agent: Option<String>,
    /// What else whoever sent it knows of it. Nothing here reads that.
    #[serde(default)]
    pub about: Option<serde_json::Value>,
}

/// Reads the head of a stream and nothing behind it. Errors: `BadImage`.
pub fn head(from: &mut impl Read) -> Result<Head, Error> {
    read_head(from)
}

/// Takes a stream in as checkpoint `id`, which must be new. `acceptable` sees the manifest before anything is written, and may refuse.
/// Everything is verified, the stream's own digest and then each file's, before the folder is published by a rename. Errors:
/// `BadImage` for a stream that is cut, changed, continued or hostile; those of `acceptable`; `NoSpace`; `Io`. Nothing stays of what failed. Returns the
/// head, with the manifest as it is here.
pub fn import(
    layout: &Layout,
    id: &CheckpointId,
    from: impl Read,
    acceptable: impl FnOnce(&Manifest) -> Result<(), Error>,
) -> Result<Head, Error> {
    let mut from = Digesting::new(from);
    let mut head = read_head(&mut from)?;
    acceptable(&head.manifest)?;
    let partial = Partial::make(layout, id)?;
    let mut taken = Taken::new(&partial.folder, &head.manifest)?;
    let mut records = Records::begin(from)?;
    while let Some(record) = records.next()? {
        match record {
            Record::Entry(entry) => taken.entry(entry)?,
            Record::Data { offset, bytes } => {
                if bytes > DATA_BYTES_MAX {
                    return Err(bad("one of its portions is too long"));
                }
                taken.data(offset, records.bytes(bytes as usize)?)?;
            }
            Record::Agent { digest, bytes } => {
                if bytes > AGENT_BYTES_MAX || head.agent.as_ref() != Some(&digest) {
                    return Err(bad("its agent is not the one it names"));
                }
                let content = records.bytes(usize::try_from(bytes).unwrap_or(usize::MAX))?;
                agent::take_in(layout, &digest, content)?;
            }
            Record::End => unreachable!("next() keeps it"),
        }
    }
    records.finish()?;
    taken.finish()?;
    head.manifest.verify(&partial.folder)?;
    if agent::recorded(&partial.folder.join("memory"))? != head.agent {
        return Err(bad("its memory was taken with another agent than it names"));
    }
    head.manifest.id = id.clone();
    head.manifest.write(&partial.folder)?;
    snapshot::make_durable(layout, id)?;
    snapshot::publish(layout, id)?;
    partial.keep();
    Ok(head)
}

fn bad(why: &str) -> Error {
    Error::BadImage(format!("this is no whole snapshot: {why}"))
}

fn cut(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => bad("it ends too early"),
        _ => bad(&format!("it cannot be read: {error}")),
    }
}

fn read_head(from: &mut impl Read) -> Result<Head, Error> {
    let mut start = [0; MAGIC.len() + 4];
    from.read_exact(&mut start).map_err(|e| cut(&e))?;
    let (magic, length) = start.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(bad("it does not begin like one"));
    }
    let length = u32::from_le_bytes(length.try_into().expect("four bytes"));
    if length > LENGTH_MAX {
        return Err(bad("its head is too long"));
    }
    let mut body = Vec::new();
    from.take(u64::from(length))
        .read_to_end(&mut body)
        .map_err(|e| cut(&e))?;
    let mut digest = [0; 32];
    from.read_exact(&mut digest).map_err(|e| cut(&e))?;
    let mut hasher = blake3::Hasher::new();
    hasher.update(&start).update(&body);
    if hasher.finalize() != digest {
        return Err(bad("its head is torn or changed"));
    }
    // The version is read by itself first: another version may have other fields.
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let said = |e: serde_json::Error| bad(&e.to_string());
    let Version { format_version } = serde_json::from_slice(&body).map_err(said)?;
    if format_version != STREAM_VERSION {
        return Err(Error::BadImage(format!(
            "this snapshot has format {format_version}, this program reads format {STREAM_VERSION}: use the version that wrote it"
        )));
    }
    serde_json::from_slice(&body).map_err(said)
}

/// The folder that is being filled; deleted unless it was published.
struct Partial {
    folder: PathBuf,
}

impl Partial {
    fn make(layout: &Layout, id: &CheckpointId) -> Result<Self, Error> {
        if layout.snapshot(id).exists() {
            return Err(Error::Invalid(format!("checkpoint {id} exists already")));
        }
        let folder = layout.partial_snapshot(id);
        files::remove_tree(&folder)?;
        fs::create_dir_all(&folder).map_err(Error::io(format!("make {}", folder.display())))?;
        Ok(Self { folder })
    }

    fn keep(self) {
        // It has another name now.
        std::mem::forget(self);
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Err(error) = files::remove_tree(&self.folder) {
            tracing::warn!(%error, "what is left of an import goes at the next start");
        }
    }
}

/// Remembers what was taken from it, and not what it has read ahead.
struct Digesting<R: Read> {
    from: BufReader<R>,
    digest: blake3::Hasher,
}

impl<R: Read> Digesting<R> {
    fn new(from: R) -> Self {
        Self {
            from: BufReader::with_capacity(READ_BYTES, from),
            digest: blake3::Hasher::new(),
        }
    }

    /// Here stands the digest of all before it, and then nothing.
    fn end(mut self) -> Result<(), Error> {
        let mut digest = [0; 32];
        self.from.read_exact(&mut digest).map_err(|e| cut(&e))?;
        if self.digest.finalize() != digest {
            return Err(bad("its digest differs: it was changed on the way"));
        }
        match self.from.read(&mut [0]).map_err(|e| cut(&e))? {
            0 => Ok(()),
            _ => Err(bad("something follows its end")),
        }
    }
}

impl<R: Read> BufRead for Digesting<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.from.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.digest.update(&self.from.buffer()[..amount]);
        self.from.consume(amount);
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(to)?;
        self.consume(length);
        Ok(length)
    }
}

/// Records as they come out of the zstd stream.
struct Records<R: Read> {
    from: zstd::Decoder<'static, Digesting<R>>,
    buffer: Vec<u8>,
}

impl<R: Read> Records<R> {
    fn begin(from: Digesting<R>) -> Result<Self, Error> {
        let from = zstd::Decoder::with_buffer(from).map_err(|e| cut(&e))?;
        Ok(Self {
            from: from.single_frame(),
            buffer: Vec::new(),
        })
    }

    /// `None` at the end.
    fn next(&mut self) -> Result<Option<Record>, Error> {
        let length = self.bytes(4)?.try_into().expect("four bytes");
        let length = u32::from_le_bytes(length);
        if length > LENGTH_MAX {
            return Err(bad("one of its records is too long"));
        }
        let body = self.bytes(length as usize)?;
        let record = rmp_serde::from_slice(body).map_err(|e| bad(&e.to_string()))?;
        match record {
            Record::End => Ok(None),
            Record::Entry(_) | Record::Data { .. } | Record::Agent { .. } => Ok(Some(record)),
        }
    }

    fn bytes(&mut self, length: usize) -> Result<&[u8], Error> {
        self.buffer.clear();
        // Room is taken as bytes come: a length is only a claim.
        let limit = length as u64;
        let read = (&mut self.from).take(limit).read_to_end(&mut self.buffer);
        read.map_err(|e| cut(&e))?;
        if self.buffer.len() != length {
            return Err(bad("it ends too early"));
        }
        Ok(&self.buffer)
    }

    /// Nothing may follow.
    fn finish(mut self) -> Result<(), Error> {
        let mut more = [0];
        match self.from.read(&mut more).map_err(|e| cut(&e))? {
            0 => self.from.finish().end(),
            _ => Err(bad("something follows its last record")),
        }
    }
}

/// What was made so far.
struct Taken<'a> {
    folder: &'a Path,
    /// Length of each file that the manifest names, until it has come.
    expected: HashMap<&'a str, u64>,
    folders: Vec<(PathBuf, entry::Entry)>,
    known_folders: HashSet<PathBuf>,
    known_files: HashSet<PathBuf>,
    /// The file whose content comes.
    open: Option<Open>,
}

struct Open {
    at: PathBuf,
    file: File,
    bytes: u64,
    filled: u64,
    entry: entry::Entry,
}

impl<'a> Taken<'a> {
    fn new(folder: &'a Path, manifest: &'a Manifest) -> Result<Self, Error> {
        let expected = manifest
            .files
            .iter()
            .map(|file| (file.path.as_str(), file.bytes));
        Ok(Self {
            folder,
            expected: expected.collect(),
            folders: Vec::new(),
            known_folders: HashSet::from([PathBuf::new()]),
            known_files: HashSet::new(),
            open: None,
        })
    }

    fn entry(&mut self, entry: entry::Entry) -> Result<(), Error> {
        self.close()?;
        let shown = String::from_utf8_lossy(&entry.path).into_owned();
        let name = entry
            .checked_path()
            .ok_or_else(|| bad(&format!("it has a file {shown:?}, which leads out of it")))?;
        // Only folders of this very stream: never through a link.
        if !self
            .known_folders
            .contains(name.parent().unwrap_or(Path::new("")))
        {
            return Err(bad(&format!(
                "it has a file {shown:?} in no folder of its own"
            )));
        }
        let at = self.folder.join(&name);
        let what = || failed(&at);
        match &entry.kind {
            Kind::Folder => {
                fs::create_dir(&at).map_err(what())?;
                self.known_folders.insert(name);
                self.folders.push((at, entry));
            }
            Kind::File { bytes } => {
                let bytes = *bytes;
                self.expect(&name, bytes)?;
                let mut options = File::options();
                let file = options.write(true).create_new(true).mode(0o600);
                let file = file.open(&at).map_err(what())?;
                file.set_len(bytes).map_err(what())?;
                self.known_files.insert(name);
                let filled = 0;
                self.open = Some(Open {
                    at,
                    file,
                    bytes,
                    filled,
                    entry,
                });
            }
            Kind::Hardlink { to } => {
                let to = entry::checked(to).filter(|to| self.known_files.contains(to));
                let to = to.ok_or_else(|| {
                    bad(&format!("it has a link {shown:?} to no file of its own"))
                })?;
                let to = self.folder.join(to);
                let bytes = fs::symlink_metadata(&to).map_err(what())?.len();
                self.expect(&name, bytes)?;
                fs::hard_link(&to, &at).map_err(what())?;
                self.known_files.insert(name);
            }
            Kind::Symlink { .. } | Kind::Fifo | Kind::Socket | Kind::Whiteout => {
                entry.make_special(&at).map_err(what())?;
                entry.dress(&at).map_err(what())?;
            }
        }
        Ok(())
    }

    /// A stream cannot be longer than its manifest says, whatever it unpacks to.
    fn expect(&mut self, name: &Path, bytes: u64) -> Result<(), Error> {
        let name = escaped(name.as_os_str().as_bytes());
        match self.expected.remove(name.as_str()) {
            Some(expected) if expected == bytes => Ok(()),
            Some(_) | None => Err(bad(&format!(
                "its manifest says nothing of a file {name} of {bytes} bytes"
            ))),
        }
    }

    fn data(&mut self, offset: u64, content: &[u8]) -> Result<(), Error> {
        let open = self
            .open
            .as_mut()
            .ok_or_else(|| bad("it has bytes of no file"))?;
        let end = offset.checked_add(content.len() as u64);
        // Portions come in order, so that nothing is written twice.
        match end {
            Some(end) if offset >= open.filled && end <= open.bytes => open.filled = end,
            Some(_) | None => return Err(bad("it has bytes where its file has none")),
        }
        open.file
            .write_all_at(content, offset)
            .map_err(failed(&open.at))
    }

    fn close(&mut self) -> Result<(), Error> {
        match self.open.take() {
            Some(open) => open.entry.dress(&open.at).map_err(failed(&open.at)),
            None => Ok(()),
        }
    }

    /// Folders last: filling them changes their times.
    fn finish(mut self) -> Result<(), Error> {
        self.close()?;
        for (at, entry) in self.folders.iter().rev() {
            entry.dress(at).map_err(failed(at))?;
        }
        Ok(())
    }
}

fn failed(at: &Path) -> impl FnOnce(io::Error) -> Error {
    let at = at.to_owned();
    move |error| match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            crate::disk::no_space(at.parent().unwrap_or(&at), 0)
        }
        // Names and lengths come from the stream too.
        io::ErrorKind::InvalidData
        | io::ErrorKind::InvalidInput
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::AlreadyExists => bad(&format!("{}: {error}", at.display())),
        _ => Error::io(format!("import {}", at.display()))(error),
    }
}
