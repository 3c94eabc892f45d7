//! Tar streams from files and to files.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};
use tar::{Archive, Builder, EntryType, Header};

/// Unpacks a tar into a folder. With `name`, the first component of every path becomes `name`; `.` leaves it out. Owners are
/// the caller's, times and modes the archive's; nothing is written outside the folder.
pub(crate) fn unpack(tar: impl Read, folder: &Path, name: Option<&str>) -> io::Result<()> {
    let mut archive = Archive::new(tar);
    let mut folders = Vec::new();
    let root = folder.canonicalize()?;
    for entry in archive.entries()? {
        let mut entry = entry?;
        let Some(inside) = renamed(&entry.path()?, name)? else {
            continue;
        };
        let path = root.join(&inside);
        let parent = path.parent().unwrap_or(&root);
        // A link that an earlier entry made must not lead out of the folder.
        if !parent.canonicalize()?.starts_with(&root) {
            return Err(wrong(&format!(
                "{} leads out of the folder",
                inside.display()
            )));
        }
        match entry.header().entry_type() {
            EntryType::Directory => {
                folders.push((path.clone(), entry.header().mode()?));
                make_folder(&path)?;
            }
            EntryType::Link => {
                let link = entry
                    .link_name()?
                    .ok_or_else(|| wrong("a link to nothing"))?;
                let Some(link) = renamed(&link, name)? else {
                    return Err(wrong("a link to a folder"));
                };
                replace(&path)?;
                fs::hard_link(root.join(link), &path)?;
            }
            _ => {
                replace(&path)?;
                entry.unpack(&path)?;
            }
        }
    }
    // Last, so that a folder without write permission can be filled.
    for (path, mode) in folders.into_iter().rev() {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode & 0o7777))?;
    }
    Ok(())
}

fn make_folder(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(wrong(&format!(
            "{} is there already, and no folder",
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::create_dir(path),
        Err(error) => Err(error),
    }
}

/// Makes room for a file: what was there must not be written through.
fn replace(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => Err(wrong(&format!("{} is a folder", path.display()))),
        Ok(_) => fs::remove_file(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

/// The path with its first component renamed; `None` where nothing is left of it.
fn renamed(path: &Path, name: Option<&str>) -> io::Result<Option<PathBuf>> {
    let mut parts = path
        .components()
        .filter(|part| !matches!(part, Component::CurDir))
        .peekable();
    let mut out = PathBuf::new();
    match (name, parts.peek()) {
        (_, None) => return Ok(None),
        (None, Some(_)) => {}
        (Some(name), Some(_)) => {
            parts.next();
            if name != "." {
                out.push(name);
            }
        }
    }
    for part in parts {
        match part {
            Component::Normal(part) => out.push(part),
            Component::Prefix(_)
            | Component::RootDir
            | Component::ParentDir
            | Component::CurDir => {
                return Err(wrong(&format!(
                    "{} leads out of the folder",
                    path.display()
                )));
            }
        }
    }
    Ok((!out.as_os_str().is_empty()).then_some(out))
}

/// Packs a file or folder under this name; `.`: what is in it. Owners become root, who is the one that unpacks it inside.
pub(crate) fn pack(source: &Path, name: &Path, to: &mut impl Write) -> io::Result<()> {
    let mut builder = Builder::new(to);
    let meta = fs::symlink_metadata(source)?;
    // What the user names is followed, what lies in it is copied as it is.
    let meta = if meta.is_symlink() {
        fs::metadata(source)?
    } else {
        meta
    };
    append(&mut builder, source, name, &meta)?;
    builder.finish()
}

fn append(
    builder: &mut Builder<&mut impl Write>,
    source: &Path,
    name: &Path,
    meta: &Metadata,
) -> io::Result<()> {
    let mut header = Header::new_gnu();
    header.set_metadata(meta);
    header.set_uid(0);
    header.set_gid(0);
    if meta.is_dir() {
        header.set_size(0);
        builder.append_data(&mut header, name, io::empty())?;
        let mut children = fs::read_dir(source)?.collect::<io::Result<Vec<_>>>()?;
        children.sort_by_key(fs::DirEntry::file_name);
        for child in children {
            let path = child.path();
            let meta = fs::symlink_metadata(&path)?;
            append(builder, &path, &name.join(child.file_name()), &meta)?;
        }
        Ok(())
    } else if meta.is_symlink() {
        header.set_size(0);
        builder.append_link(&mut header, name, fs::read_link(source)?)
    } else if meta.is_file() {
        // The length of the header is the length that was seen: a file that grows meanwhile must not break the archive.
        let file = File::open(source)?;
        header.set_size(meta.len());
        builder.append_data(
            &mut header,
            name,
            Exactly {
                file,
                left: meta.len(),
            },
        )
    } else {
        Err(wrong(&format!(
            "{} is neither a file nor a folder nor a link",
            source.display()
        )))
    }
}

/// So many bytes of a file: the rest of a longer one is left out, a shorter one is an error.
struct Exactly {
    file: File,
    left: u64,
}

impl Read for Exactly {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let length = self.file.read(&mut buffer[..most])?;
        if length == 0 {
            return Err(wrong("a file became shorter while it was read"));
        }
        self.left -= length as u64;
        Ok(length)
    }
}

/// What the first entry of an archive is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum First {
    Folder,
    File,
    Link(PathBuf),
}

/// Looks at the beginning of a tar; `None` where no entry can be read.
pub(crate) fn first_entry(beginning: &[u8]) -> Option<First> {
    let mut archive = Archive::new(beginning);
    let entry = archive.entries().ok()?.next()?.ok()?;
    Some(match entry.header().entry_type() {
        EntryType::Directory => First::Folder,
        EntryType::Symlink => First::Link(entry.link_name().ok()??.into_owned()),
        _ => First::File,
    })
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(folder: &Path) -> PathBuf {
        let source = folder.join("data");
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::write(source.join("sub/a"), b"one").unwrap();
        std::os::unix::fs::symlink("sub/a", source.join("link")).unwrap();
        source
    }

    fn packed(source: &Path, name: &str) -> Vec<u8> {
        let mut tar = Vec::new();
        pack(source, Path::new(name), &mut tar).unwrap();
        tar
    }

    #[test]
    fn a_folder_arrives_as_it_was_under_any_name() {
        let folder = tempfile::tempdir().unwrap();
        let tar = packed(&sample(folder.path()), "data");
        assert_eq!(first_entry(&tar), Some(First::Folder));
        for (name, at) in [(None, "data"), (Some("other"), "other"), (Some("."), ".")] {
            let into = tempfile::tempdir().unwrap();
            unpack(tar.as_slice(), into.path(), name).unwrap();
            assert_eq!(
                fs::read(into.path().join(at).join("sub/a")).unwrap(),
                b"one"
            );
            assert_eq!(
                fs::read_link(into.path().join(at).join("link")).unwrap(),
                Path::new("sub/a")
            );
            // Again, over what is there.
            unpack(tar.as_slice(), into.path(), name).unwrap();
        }
    }

    #[test]
    fn the_contents_of_a_folder_can_be_packed_alone() {
        let folder = tempfile::tempdir().unwrap();
        let into = tempfile::tempdir().unwrap();
        unpack(
            packed(&sample(folder.path()), ".").as_slice(),
            into.path(),
            None,
        )
        .unwrap();
        assert_eq!(fs::read(into.path().join("sub/a")).unwrap(), b"one");
    }

    #[test]
    fn nothing_is_written_outside_the_folder() {
        let outside = tempfile::tempdir().unwrap();
        let into = tempfile::tempdir().unwrap();
        let mut builder = Builder::new(Vec::new());
        let mut link = Header::new_gnu();
        link.set_entry_type(EntryType::Symlink);
        link.set_size(0);
        builder.append_link(&mut link, "x", outside.path()).unwrap();
        let mut file = Header::new_gnu();
        file.set_size(1);
        file.set_mode(0o644);
        builder.append_data(&mut file, "x/evil", &b"!"[..]).unwrap();
        let tar = builder.into_inner().unwrap();
        assert!(unpack(tar.as_slice(), into.path(), None).is_err());
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
