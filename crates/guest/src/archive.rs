//! `tar-out` and `tar-in`: how files get out of and into a sandbox, through a session's standard streams.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tar::{Builder, EntryType, Header};

/// Writes a tar of a path to the standard output; names begin with the path's last part.
pub(crate) fn tar_out(arguments: &[OsString]) -> ExitCode {
    with_path("tar-out", arguments, |path| {
        // Before the archive begins: dropping one writes its end, and a path that is not there is to give no output at all.
        fs::symlink_metadata(path)?;
        let top = path
            .file_name()
            .map_or_else(|| PathBuf::from("."), PathBuf::from);
        let mut archive = Builder::new(BufWriter::with_capacity(64 << 10, io::stdout().lock()));
        add(&mut archive, path, &top)?;
        archive.into_inner()?.flush()
    })
}

/// Extracts a tar from the standard input into a folder, below which everything stays.
pub(crate) fn tar_in(arguments: &[OsString]) -> ExitCode {
    with_path("tar-in", arguments, |path| {
        if !fs::metadata(path)?.is_dir() {
            return Err(io::Error::from(io::ErrorKind::NotADirectory));
        }
        let mut archive = tar::Archive::new(io::stdin().lock());
        archive.set_preserve_permissions(true);
        archive.set_preserve_mtime(true);
        // SAFETY: always sound.
        archive.set_preserve_ownerships(unsafe { libc::geteuid() } == 0);
        archive.unpack(path)?;
        // The end marker may be followed by padding; a writer that is cut off there would see a broken pipe.
        io::copy(&mut archive.into_inner(), &mut io::sink()).map(drop)
    })
}

fn with_path(
    command: &str,
    arguments: &[OsString],
    run: impl FnOnce(&Path) -> io::Result<()>,
) -> ExitCode {
    let [path] = arguments else {
        eprintln!("dauer: {command} takes one path");
        return ExitCode::from(2);
    };
    match run(Path::new(path)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dauer: {}: {}", path.to_string_lossy(), chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The tar crate keeps the cause in the source.
fn chain(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.ends_with(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// Adds a path and all below it. Sockets cannot be archived and mean nothing elsewhere: left out.
fn add(archive: &mut Builder<impl Write>, path: &Path, name: &Path) -> io::Result<()> {
    let metadata = fs::symlink_metadata(path)?;
    let kind = metadata.file_type();
    let mut header = Header::new_gnu();
    header.set_metadata(&metadata);
    if kind.is_dir() {
        archive.append_data(&mut header, name.join(""), io::empty())?;
        return add_entries(archive, path, name);
    }
    if kind.is_symlink() {
        header.set_size(0);
        return archive.append_link(&mut header, name, fs::read_link(path)?);
    }
    if kind.is_file() {
        return add_file(archive, path, name, &metadata, header);
    }
    if kind.is_socket() {
        return Ok(());
    }
    add_special(archive, name, &metadata, header)
}

fn add_entries(archive: &mut Builder<impl Write>, folder: &Path, name: &Path) -> io::Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        match add(archive, &entry.path(), &name.join(entry.file_name())) {
            // Removed since the folder was read: as if the copy had been made a moment later.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    Ok(())
}

/// As long as the header says, whatever the job does to the file meanwhile.
fn add_file(
    archive: &mut Builder<impl Write>,
    path: &Path,
    name: &Path,
    metadata: &Metadata,
    mut header: Header,
) -> io::Result<()> {
    let file = File::open(path)?;
    let length = metadata.len();
    archive.append_data(&mut header, name, file.chain(io::repeat(0)).take(length))
}

fn add_special(
    archive: &mut Builder<impl Write>,
    name: &Path,
    metadata: &Metadata,
    mut header: Header,
) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let kind = metadata.file_type();
    header.set_size(0);
    header.set_entry_type(match kind {
        kind if kind.is_fifo() => EntryType::Fifo,
        kind if kind.is_char_device() => EntryType::Char,
        _ => EntryType::Block,
    });
    if !kind.is_fifo() {
        let device = metadata.rdev();
        header.set_device_major(libc::major(device))?;
        header.set_device_minor(libc::minor(device))?;
    }
    archive.append_data(&mut header, name, io::empty())
}
