//! A checkpoint's folder into a stream.

use super::entry::Entry;
use super::import::Head;
use super::{DATA_BYTES_MAX, MAGIC, Record, STREAM_VERSION};
use crate::disk::{self, next_data};
use crate::driver::agent;
use crate::snapshot::{Manifest, OWN_NAMES, Reader};
use crate::{Error, Layout};
use dauer_core::CheckpointId;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Fast enough for a disk; memory is mostly zeros, pointers and text, from which little more is to be gained.
const LEVEL: i32 = 1;

/// Writes a published checkpoint as one stream: manifest first, holes left out, everything digested. `about` travels with it.
/// Returns the manifest. It can be read
/// while others restore from it. Errors: `BadImage` where it is absent or damaged; `Unsupported` for files that cannot travel; `Io`, also
/// of a reader that has gone.
pub fn export(
    layout: &Layout,
    id: &CheckpointId,
    about: Option<serde_json::Value>,
    to: impl Write,
) -> Result<Manifest, Error> {
    let reader = Reader::open(layout, id)?;
    let manifest = reader.manifest().clone();
    manifest.verify(reader.folder())?;
    let agent = agent::recorded(&reader.folder().join("memory"))?;
    let head = Head {
        format_version: STREAM_VERSION,
        manifest,
        agent: agent.clone(),
        about,
    };
    let failed = || Error::io(format!("export checkpoint {id}"));
    let mut to = Digesting::new(to);
    write_head(&head, &mut to).map_err(failed())?;
    let mut encoder = zstd::Encoder::new(to, LEVEL).map_err(failed())?;
    encoder.include_checksum(true).map_err(failed())?;
    let mut writer = Writer { to: encoder };
    if let Some(digest) = &agent {
        let path = agent::binary(layout, digest)?;
        let what = || Error::io(format!("read {}", path.display()));
        let content = std::fs::read(&path).map_err(what())?;
        let record = Record::Agent {
            digest: digest.clone(),
            bytes: content.len() as u64,
        };
        writer.record(&record).map_err(failed())?;
        writer.bytes(&content).map_err(failed())?;
    }
    writer.folder(reader.folder())?;
    writer.record(&Record::End).map_err(failed())?;
    let end = || writer.to.finish()?.end();
    end().map_err(failed())?;
    Ok(head.manifest)
}

fn write_head(head: &Head, to: &mut impl Write) -> io::Result<()> {
    let body = serde_json::to_vec(head)?;
    let length = u32::try_from(body.len()).map_err(io::Error::other)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(length.to_le_bytes());
    bytes.extend(&body);
    to.write_all(&bytes)?;
    to.write_all(blake3::hash(&bytes).as_bytes())
}

/// Remembers what went through it.
struct Digesting<W: Write> {
    to: W,
    digest: blake3::Hasher,
}

impl<W: Write> Digesting<W> {
    fn new(to: W) -> Self {
        let digest = blake3::Hasher::new();
        Self { to, digest }
    }

    /// Writes the digest of all before it.
    fn end(mut self) -> io::Result<()> {
        self.to.write_all(self.digest.finalize().as_bytes())?;
        self.to.flush()
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.digest.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Writes records.
struct Writer<W: Write> {
    to: W,
}

impl<W: Write> Writer<W> {
    fn record(&mut self, record: &Record) -> io::Result<()> {
        let body = rmp_serde::to_vec(record).map_err(io::Error::other)?;
        let length = u32::try_from(body.len()).map_err(io::Error::other)?;
        self.bytes(&length.to_le_bytes())?;
        self.bytes(&body)
    }

    fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.to.write_all(bytes)
    }

    fn folder(&mut self, folder: &Path) -> Result<(), Error> {
        let mut first_names: HashMap<(u64, u64), PathBuf> = HashMap::new();
        disk::walk(folder, |path, meta| {
            let name = path.strip_prefix(folder).unwrap_or(path);
            if name.parent() == Some(Path::new(""))
                && OWN_NAMES.iter().any(|own| name == Path::new(own))
            {
                return Ok(());
            }
            let what = || Error::io(format!("export {}", path.display()));
            let mut first = None;
            if !meta.is_dir() && meta.nlink() > 1 {
                let inode = (meta.dev(), meta.ino());
                first = first_names.get(&inode).cloned();
                first_names.entry(inode).or_insert_with(|| name.to_owned());
            }
            let entry = Entry::of(name, path, meta, first.as_deref()).map_err(what())?;
            self.record(&Record::Entry(entry)).map_err(what())?;
            if meta.is_file() && first.is_none() {
                self.content(path, meta.len()).map_err(what())?;
            }
            Ok(())
        })
    }

    fn content(&mut self, path: &Path, length: u64) -> io::Result<()> {
        let file = File::open(path)?;
        let mut buffer = vec![0; DATA_BYTES_MAX as usize];
        let mut at = 0;
        while let Some((start, end)) = next_data(&file, at, length)? {
            at = start;
            while at < end {
                let bytes =
                    u32::try_from(end - at).map_or(DATA_BYTES_MAX, |left| left.min(DATA_BYTES_MAX));
                let portion = &mut buffer[..bytes as usize];
                file.read_exact_at(portion, at)?;
                self.record(&Record::Data { offset: at, bytes })?;
                self.bytes(&buffer[..bytes as usize])?;
                at += u64::from(bytes);
            }
        }
        Ok(())
    }
}
