//! Images: read-only roots that sandboxes write over.
//!
//! `images/<digest>/` holds an unpacked tar file; `images/<stamp>.ref` says which digest a tar file of this path, size and time has, so that
//! a large one is read once. A folder is published by rename: what is there is whole.

use crate::host::root::make_folder;
use crate::{Error, Layout};
use dauer_core::Image;
use std::fs::{self, File};
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

/// What a user's text means: `host`, a folder with a root file system, or a tar file (plain, gzip or zstd). Errors: `Invalid`.
pub fn resolve(text: &str) -> Result<Image, Error> {
    if text == "host" {
        return Ok(Image::Host);
    }
    let refuse = |why: &str| Err(Error::Invalid(format!("image {text}: {why}")));
    let path = match Path::new(text).canonicalize() {
        Ok(path) => path,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return refuse("no such folder or tar file (or use `host`, this machine's own root)");
        }
        Err(e) => return refuse(&e.to_string()),
    };
    let Some(name) = path.to_str().map(str::to_owned) else {
        return refuse("its path is not valid UTF-8");
    };
    if path.is_dir() {
        return Ok(Image::Directory(name));
    }
    let mut file = File::open(&path).map_err(Error::io(format!("open {name}")))?;
    match Packing::of(&mut file).map_err(Error::io(format!("read {name}")))? {
        Some(_) => Ok(Image::Tar(name)),
        None => refuse("it is neither a folder nor a tar file (plain, gzip or zstd)"),
    }
}

/// The read-only folder of an image; unpacks a tar file that is not unpacked yet.
pub fn lower(layout: &Layout, image: &Image) -> Result<PathBuf, Error> {
    match image {
        Image::Host => Ok(PathBuf::from("/")),
        Image::Directory(path) => Ok(PathBuf::from(path)),
        Image::Tar(path) => unpacked(layout, Path::new(path)),
    }
}

/// Refuses an image that is not on this machine, without unpacking anything. Errors: `Invalid` with what to do.
pub fn check_here(image: &Image) -> Result<(), Error> {
    match image {
        Image::Host => Ok(()),
        Image::Directory(path) | Image::Tar(path) if Path::new(path).exists() => Ok(()),
        Image::Directory(path) | Image::Tar(path) => Err(Error::Invalid(format!(
            "its image {path} is not on this machine: bring it to the same path first"
        ))),
    }
}

/// How a tar file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    /// By the first bytes; `None` where it is no tar file. A packed one is only known to be one once it is unpacked.
    fn of(file: &mut File) -> std::io::Result<Option<Self>> {
        let mut head = Vec::new();
        file.seek(SeekFrom::Start(0))?;
        file.by_ref().take(512).read_to_end(&mut head)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(if head.starts_with(&[0x1f, 0x8b]) {
            Some(Self::Gzip)
        } else if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            Some(Self::Zstd)
        } else if head.get(257..262) == Some(b"ustar") {
            Some(Self::Plain)
        } else {
            None
        })
    }

    fn reader(self, file: File) -> std::io::Result<Box<dyn Read>> {
        let file = BufReader::with_capacity(256 << 10, file);
        Ok(match self {
            Self::Plain => Box::new(file),
            Self::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
            Self::Zstd => Box::new(zstd::Decoder::new(file)?),
        })
    }
}

fn unpacked(layout: &Layout, tar: &Path) -> Result<PathBuf, Error> {
    let images = layout.images();
    let known = images.join(format!("{}.ref", stamp(tar)?));
    if let Ok(digest) = fs::read_to_string(&known) {
        let folder = images.join(digest.trim());
        if folder.is_dir() {
            return Ok(folder);
        }
    }
    make_folder(&images)?;
    let digest = digest(tar)?;
    let folder = images.join(&digest);
    if !folder.is_dir() {
        let what = || format!("make a folder in {}", images.display());
        let made = tempfile::Builder::new()
            .prefix(".new-")
            .tempdir_in(&images)
            .map_err(Error::io(what()))?;
        unpack(tar, made.path())?;
        // Two at once publish the same content: the second rename finds a folder that is not empty, and its own goes away with `made`.
        match fs::rename(made.path(), &folder) {
            Err(_) if folder.is_dir() => {}
            renamed => renamed.map_err(Error::io(format!("publish {}", folder.display())))?,
        }
    }
    fs::write(&known, &digest).map_err(Error::io(format!("write {}", known.display())))?;
    Ok(folder)
}

/// Another size or time means another file.
fn stamp(path: &Path) -> Result<String, Error> {
    let meta = fs::metadata(path).map_err(Error::io(format!("look at {}", path.display())))?;
    let text = format!(
        "{}\0{}\0{}\0{}",
        path.display(),
        meta.len(),
        meta.mtime(),
        meta.mtime_nsec()
    );
    Ok(format!("{:016x}", xxh3_64(text.as_bytes())))
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

/// Unpacks into an empty folder. The tar crate refuses entries that lead out of it.
fn unpack(tar: &Path, into: &Path) -> Result<(), Error> {
    let bad = |why: std::io::Error| match why.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::PermissionDenied => {
            Error::io(format!("unpack {}", tar.display()))(why)
        }
        _ => Error::Invalid(format!(
            "image {}: cannot be unpacked: {why}",
            tar.display()
        )),
    };
    let mut file = File::open(tar).map_err(Error::io(format!("open {}", tar.display())))?;
    let packing = Packing::of(&mut file).map_err(Error::io(format!("read {}", tar.display())))?;
    let Some(packing) = packing else {
        return Err(Error::Invalid(format!(
            "image {}: not a tar file (plain, gzip or zstd)",
            tar.display()
        )));
    };
    let mut archive = tar::Archive::new(packing.reader(file).map_err(bad)?);
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(nix::unistd::geteuid().is_root());
    archive.set_unpack_xattrs(true);
    archive.set_overwrite(true);
    let mut entries = 0_u64;
    for entry in archive.entries().map_err(bad)? {
        let mut entry = entry.map_err(bad)?;
        let kind = entry.header().entry_type();
        // Devices come from the sandbox's own /dev, and an ordinary user could not make them.
        if kind.is_character_special() || kind.is_block_special() {
            continue;
        }
        if !entry.unpack_in(into).map_err(bad)? {
            let path = entry
                .path()
                .map(|path| path.display().to_string())
                .unwrap_or_default();
            return Err(Error::Invalid(format!(
                "image {}: {path} leads out of the image",
                tar.display()
            )));
        }
        entries += 1;
    }
    if entries == 0 {
        return Err(Error::Invalid(format!(
            "image {}: there is nothing in it",
            tar.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn tar_with(path: &str, content: &[u8]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        // Written into the header as it is: the builder itself refuses what leads out.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, content).unwrap();
        builder.into_inner().unwrap()
    }

    fn layout(folder: &Path) -> Layout {
        Layout {
            data: folder.join("data"),
            run: folder.join("run"),
        }
    }

    #[test]
    fn a_tar_file_is_unpacked_once_however_it_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        let plain = tar_with("bin/tool", b"content");
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let zstd = zstd::encode_all(plain.as_slice(), 1).unwrap();
        for (name, bytes) in [
            ("plain", plain.clone()),
            ("gzip", gzip.finish().unwrap()),
            ("zstd", zstd),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            let image = resolve(path.to_str().unwrap()).unwrap();
            let root = lower(&layout, &image).unwrap();
            assert_eq!(
                fs::read(root.join("bin/tool")).unwrap(),
                b"content",
                "{name}"
            );
            fs::write(root.join("mark"), "").unwrap();
            assert!(
                lower(&layout, &image).unwrap().join("mark").exists(),
                "{name} was unpacked again"
            );
        }
    }

    #[test]
    fn an_entry_that_leads_out_is_refused_and_nothing_is_published() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        let path = folder.path().join("evil.tar");
        fs::write(&path, tar_with("../../evil", b"x")).unwrap();
        let error = lower(&layout, &resolve(path.to_str().unwrap()).unwrap()).unwrap_err();
        assert!(error.to_string().contains("leads out"), "{error}");
        assert_eq!(fs::read_dir(layout.images()).unwrap().count(), 0);
        assert!(!folder.path().join("evil").exists());
    }

    #[test]
    fn what_is_no_image_is_refused_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let text = folder.path().join("text");
        fs::write(&text, "no tar").unwrap();
        assert_eq!(resolve("host").unwrap(), Image::Host);
        assert!(matches!(
            resolve(folder.path().to_str().unwrap()).unwrap(),
            Image::Directory(_)
        ));
        assert!(
            resolve("/no/such/image")
                .unwrap_err()
                .to_string()
                .contains("no such folder")
        );
        assert!(
            resolve(text.to_str().unwrap())
                .unwrap_err()
                .to_string()
                .contains("neither")
        );
        let torn = folder.path().join("torn.gz");
        fs::write(&torn, [0x1f, 0x8b, 8, 0, 0]).unwrap();
        let torn = resolve(torn.to_str().unwrap()).unwrap();
        assert!(matches!(
            lower(&layout(folder.path()), &torn),
            Err(Error::Invalid(_))
        ));
    }
}
