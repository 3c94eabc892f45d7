//! A tar stream read entry by entry, with a bound on what its headers may take: they come from anywhere.

use std::io::{self, BufRead, Read};

const BLOCK: u64 = 512;

/// What one header with its long names and attributes may take. Paths of the kernel have 4 KiB.
const HEADER_BYTES_MAX: u64 = 1 << 20;

/// What may follow the end mark: writers fill up to their own block size.
const TRAILER_BYTES_MAX: u64 = 64 << 20;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    SymbolicLink,
    Folder,
    Fifo,
    Device,
}

/// One entry; its content follows on the tape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// As it is written there: nothing of it can be trusted.
    pub(super) path: Vec<u8>,
    /// What a link leads to.
    pub(super) target: Vec<u8>,
    pub(super) kind: Kind,
    pub(super) bytes: u64,
    /// Permissions with set-user-id and the like.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Seconds and nanoseconds since the epoch.
    pub(super) mtime: (i64, i64),
    /// Extended attributes.
    pub(super) attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tar that is being read.
pub(super) struct Tape<R> {
    input: R,
    /// Bytes of the present entry that were not read, and what fills its last block.
    left: u64,
    padding: u64,
}

/// What headers before the one of the entry say of it.
#[derive(Default)]
struct Said {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    bytes: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<(i64, i64)>,
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    header_bytes: u64,
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

impl<R: BufRead> Tape<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
        }
    }

    /// The next entry; `None` at the end mark, after which everything was read. Errors: `UnexpectedEof` where it is cut off,
    /// `InvalidData`.
    pub(super) fn next(&mut self) -> io::Result<Option<Entry>> {
        let mut said = Said::default();
        loop {
            self.pass_by(self.left + self.padding)?;
            (self.left, self.padding) = (0, 0);
            let mut header = tar::Header::new_old();
            self.input.read_exact(header.as_mut_bytes())?;
            if header.as_bytes().iter().all(|byte| *byte == 0) {
                self.finish()?;
                return Ok(None);
            }
            check_sum(&header)?;
            let kind = header.entry_type();
            let bytes = header.entry_size()?;
            self.put_in(bytes);
            let meta =
                kind.is_gnu_longname() || kind.is_gnu_longlink() || kind.is_pax_local_extensions();
            if meta {
                said.header_bytes = said.header_bytes.saturating_add(bytes);
                if said.header_bytes > HEADER_BYTES_MAX {
                    return Err(bad("the header of an entry is larger than any needs to be"));
                }
                let mut content = Vec::new();
                (&mut *self).take(bytes).read_to_end(&mut content)?;
                if content.len() as u64 != bytes {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                if kind.is_gnu_longname() {
                    said.path = Some(until_zero(content));
                } else if kind.is_gnu_longlink() {
                    said.target = Some(until_zero(content));
                } else {
                    said.read_pax(&content)?;
                }
                continue;
            }
            // What holds for all entries (comments, mostly) holds nothing that is needed here.
            if kind.is_pax_global_extensions() {
                continue;
            }
            if let Some(bytes) = said.bytes {
                self.put_in(bytes);
            }
            return said.entry(&header, self.left).map(Some);
        }
    }

    fn put_in(&mut self, bytes: u64) {
        self.left = bytes;
        self.padding = bytes.wrapping_neg() % BLOCK;
    }

    /// Content of the present entry that is there already, without copying it; empty at its end.
    pub(super) fn content(&mut self) -> io::Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let there = self.input.fill_buf()?;
        if there.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        Ok(&there[..there.len().min(most)])
    }

    /// So much of [`Tape::content`] was used.
    pub(super) fn used(&mut self, bytes: usize) {
        self.input.consume(bytes);
        self.left -= bytes as u64;
    }

    fn pass_by(&mut self, mut bytes: u64) -> io::Result<()> {
        while bytes > 0 {
            let there = self.input.fill_buf()?.len() as u64;
            if there == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let now = there.min(bytes);
            self.input
                .consume(usize::try_from(now).unwrap_or(usize::MAX));
            bytes -= now;
        }
        Ok(())
    }

    /// Reads what comes after the end mark, so that a digest beside it covers the whole.
    fn finish(&mut self) -> io::Result<()> {
        let mut passed = 0;
        loop {
            let there = self.input.fill_buf()?.len();
            if there == 0 {
                return Ok(());
            }
            self.input.consume(there);
            passed += there as u64;
            if passed > TRAILER_BYTES_MAX {
                return Err(bad("something else follows the end of the tar"));
            }
        }
    }
}

impl<R: BufRead> Read for Tape<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let there = self.content()?;
        let length = there.len().min(into.len());
        into[..length].copy_from_slice(&there[..length]);
        self.used(length);
        Ok(length)
    }
}

impl Said {
    /// `LENGTH KEY=VALUE\n` after another.
    fn read_pax(&mut self, content: &[u8]) -> io::Result<()> {
        for record in tar::PaxExtensions::new(content) {
            let record = record?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => self.bytes = Some(number(value)?),
                b"uid" => self.uid = Some(number(value)?),
                b"gid" => self.gid = Some(number(value)?),
                b"mtime" => self.mtime = Some(moment(value)?),
                _ if key.starts_with(b"GNU.sparse.") => return Err(sparse()),
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        self.attributes.push((name.to_vec(), value.to_vec()));
                    }
                }
            }
        }
        Ok(())
    }

    fn entry(self, header: &tar::Header, bytes: u64) -> io::Result<Entry> {
        let kind = header.entry_type();
        let kind = if kind.is_file() || kind.is_contiguous() {
            Kind::File
        } else if kind.is_dir() {
            Kind::Folder
        } else if kind.is_hard_link() {
            Kind::HardLink
        } else if kind.is_symlink() {
            Kind::SymbolicLink
        } else if kind.is_fifo() {
            Kind::Fifo
        } else if kind.is_character_special() || kind.is_block_special() {
            Kind::Device
        } else if kind.is_gnu_sparse() {
            return Err(sparse());
        } else {
            return Err(bad(format!(
                "an entry of unknown kind {:?}",
                char::from(kind.as_byte())
            )));
        };
        let path = self
            .path
            .unwrap_or_else(|| header.path_bytes().into_owned());
        // As in the days before folders had a kind of their own.
        let is_old_folder = kind == Kind::File && path.ends_with(b"/");
        let id = |said: Option<u32>, field: &[u8], header: io::Result<u64>| match said {
            Some(id) => Ok(id),
            None => u32::try_from(or_nothing(field, header)?)
                .map_err(|_| bad("an owner beyond all numbers")),
        };
        let fields = header.as_old();
        let mode = or_nothing(&fields.mode, header.mode().map(u64::from))?;
        let mtime = or_nothing(&fields.mtime, header.mtime())?;
        Ok(Entry {
            kind: if is_old_folder { Kind::Folder } else { kind },
            target: self.target.unwrap_or_else(|| {
                header
                    .link_name_bytes()
                    .map(std::borrow::Cow::into_owned)
                    .unwrap_or_default()
            }),
            bytes,
            mode: u32::try_from(mode & 0o7777).unwrap_or(0),
            uid: id(self.uid, &fields.uid, header.uid())?,
            gid: id(self.gid, &fields.gid, header.gid())?,
            mtime: match self.mtime {
                Some(mtime) => mtime,
                None => (i64::try_from(mtime).unwrap_or(i64::MAX), 0),
            },
            attributes: self.attributes,
            path,
        })
    }
}

/// A number that is left empty is zero.
fn or_nothing(field: &[u8], parsed: io::Result<u64>) -> io::Result<u64> {
    if field.iter().all(|byte| matches!(byte, 0 | b' ')) {
        return Ok(0);
    }
    parsed
}

fn sparse() -> io::Error {
    bad("a file in the sparse form of GNU tar: make the tar without --sparse")
}

fn until_zero(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|byte| *byte == 0) {
        bytes.truncate(end);
    }
    bytes
}

fn number<T: std::str::FromStr>(text: &[u8]) -> io::Result<T> {
    let parsed = std::str::from_utf8(text)
        .ok()
        .and_then(|text| text.parse().ok());
    parsed.ok_or_else(|| bad("a header with a number that is none"))
}

/// `-1.5` is one and a half seconds before the epoch; digits beyond nanoseconds are left out.
fn moment(text: &[u8]) -> io::Result<(i64, i64)> {
    let text = std::str::from_utf8(text).map_err(|_| bad("a header with a time that is none"))?;
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = number(whole.as_bytes())?;
    let digits: String = part.chars().chain("000000000".chars()).take(9).collect();
    let nanos: i64 = number(digits.as_bytes())?;
    Ok(if whole.starts_with('-') && nanos > 0 {
        (seconds.saturating_sub(1), 1_000_000_000 - nanos)
    } else {
        (seconds, nanos)
    })
}

/// The sum of all bytes, those of the sum itself taken for blanks.
fn check_sum(header: &tar::Header) -> io::Result<()> {
    let bytes = header.as_bytes();
    let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
    let real = sum(&bytes[..148]) + sum(&bytes[156..]) + 8 * u32::from(b' ');
    match header.cksum() {
        Ok(written) if written == real => Ok(()),
        Ok(_) | Err(_) => Err(bad("it is no tar, or damaged: a header's sum is wrong")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(bytes: &[u8]) -> io::Result<Vec<Entry>> {
        let mut tape = Tape::new(bytes);
        let mut entries = Vec::new();
        while let Some(entry) = tape.next()? {
            entries.push(entry);
        }
        Ok(entries)
    }

    #[test]
    fn long_names_and_contents_of_any_length_are_passed_by() {
        let mut builder = tar::Builder::new(Vec::new());
        let long = "d/".repeat(120) + "file";
        for (name, length) in [("a", 0), (long.as_str(), 513), ("b", 512)] {
            let mut header = tar::Header::new_gnu();
            header.set_size(length);
            header.set_mode(0o4755);
            let content = io::repeat(7).take(length);
            builder.append_data(&mut header, name, content).unwrap();
        }
        let tar = builder.into_inner().unwrap();
        let found = entries(&tar).unwrap();
        let names: Vec<_> = found
            .iter()
            .map(|e| (e.path.len(), e.bytes, e.mode))
            .collect();
        assert_eq!(
            names,
            [(1, 0, 0o4755), (long.len(), 513, 0o4755), (1, 512, 0o4755)]
        );
        for cut in [tar.len() - 1024, tar.len() - 1030, 700, 100] {
            let error = entries(&tar[..cut]).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof, "cut at {cut}");
        }
        let mut damaged = tar;
        damaged[3] ^= 1;
        assert_eq!(
            entries(&damaged).unwrap_err().kind(),
            io::ErrorKind::InvalidData
        );
    }

    #[test]
    fn a_name_of_gigabytes_is_refused_before_it_is_read() {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::GNULongName);
        header.set_size(1 << 40);
        header.set_cksum();
        let error = entries(header.as_bytes()).unwrap_err();
        assert!(error.to_string().contains("larger than any"), "{error}");
    }

    #[test]
    fn moments_have_parts_on_both_sides_of_the_epoch() {
        for (text, expected) in [
            ("12", (12, 0)),
            ("12.5", (12, 500_000_000)),
            ("-1.25", (-2, 750_000_000)),
            ("0.1234567891", (0, 123_456_789)),
        ] {
            assert_eq!(moment(text.as_bytes()).unwrap(), expected, "{text}");
        }
        assert!(moment(b"soon").is_err());
    }
}
