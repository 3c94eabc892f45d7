//! A folder of this machine as the tar of a root file system: owners, modes, times and hard links as they are.

use std::collections::HashMap;
use std::fs::{self, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

/// Writes what is in `folder`. Sockets and devices are left out: nobody listens on a copy, and sandboxes have devices of their own.
pub(crate) fn write(folder: &Path, to: impl Write) -> io::Result<()> {
    let mut builder = Builder::new(to);
    builder.follow_symlinks(false);
    let mut links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(within) = folders.pop() {
        let path = folder.join(&within);
        let name = Path::new(".").join(&within);
        builder.append_path_with_name(&path, &name)?;
        let mut entries = fs::read_dir(&path)?.collect::<io::Result<Vec<_>>>()?;
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries {
            let meta = entry.metadata()?;
            let inside = within.join(entry.file_name());
            if meta.is_dir() {
                folders.push(inside);
                continue;
            }
            let kind = meta.file_type();
            if kind.is_socket() || kind.is_char_device() || kind.is_block_device() {
                continue;
            }
            let name = Path::new(".").join(&inside);
            match links.get(&(meta.dev(), meta.ino())) {
                Some(first) if meta.nlink() > 1 => append_link(&mut builder, &meta, &name, first)?,
                Some(_) | None => {
                    builder.append_path_with_name(entry.path(), &name)?;
                    links.insert((meta.dev(), meta.ino()), name);
                }
            }
        }
    }
    builder.into_inner()?.flush()
}

fn append_link(
    builder: &mut Builder<impl Write>,
    meta: &Metadata,
    name: &Path,
    first: &Path,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_metadata(meta);
    header.set_entry_type(EntryType::Link);
    header.set_size(0);
    builder.append_link(&mut header, name, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_in_it_once() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("d")).unwrap();
        fs::write(folder.path().join("d/a"), "content").unwrap();
        fs::hard_link(folder.path().join("d/a"), folder.path().join("d/b")).unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("l")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap();
        let mut bytes = Vec::new();
        write(folder.path(), &mut bytes).unwrap();
        let mut archive = tar::Archive::new(bytes.as_slice());
        let entries = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            let path = entry.path().unwrap().display().to_string();
            (path, entry.header().entry_type(), entry.size())
        });
        let mut entries: Vec<_> = entries.collect();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let kinds: Vec<_> = entries
            .iter()
            .map(|(path, kind, size)| (path.trim_start_matches("./"), *kind, *size))
            .collect();
        assert_eq!(
            kinds[1..],
            [
                ("d", EntryType::Directory, 0),
                ("d/a", EntryType::Regular, 7),
                ("d/b", EntryType::Link, 0),
                ("l", EntryType::Symlink, 0),
            ]
        );
    }
}
