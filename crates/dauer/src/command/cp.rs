//! `dauer cp`: files into and out of a job, by the rules of `cp -a` and `docker cp`.

use crate::archive;
use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::pieces::{Sender, stream};
use bytes::Bytes;
use dauer_client::{ByteReader, Client, Error};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Pieces of a tar under way between the connection and the files.
const PIECES_MAX: usize = 16;

/// Links of a path inside a job that are followed.
const LINKS_MAX: usize = 16;

/// Copy files into or out of a job.
///
/// Out of a job: JOB:PATH DST. Into it: SRC JOB:PATH.
///
/// Where the destination is a folder, the source goes into it under its own name; otherwise it becomes the destination.
/// A source that ends in /. stands for what is in it. `-` is a tar on standard input or output.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer cp crunch:/tmp/result.json .
  dauer cp ./input crunch:/srv/input
  dauer cp crunch:/var/log - | tar t")]
pub(crate) struct Args {
    /// A path here, or JOB:PATH
    #[arg(value_name = "SRC")]
    source: String,
    /// A path here, or JOB:PATH
    #[arg(value_name = "DST")]
    target: String,
}

/// One side of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Here(String),
    Inside { job: String, path: String },
}

impl Place {
    fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((job, path)) if !job.is_empty() && !job.contains('/') && !job.starts_with('.') => {
                let path = if path.starts_with('/') {
                    path.to_owned()
                } else {
                    format!("/{path}")
                };
                Self::Inside {
                    job: job.to_owned(),
                    path,
                }
            }
            Some(_) | None => Self::Here(text.to_owned()),
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let places = (Place::parse(&args.source), Place::parse(&args.target));
    match places {
        (Place::Inside { job, path }, Place::Here(target)) => {
            copy_out(&context.client().await?, &job, &path, &target).await?;
        }
        (Place::Here(source), Place::Inside { job, path }) => {
            copy_in(&context.client().await?, &source, &job, &path).await?;
        }
        (Place::Inside { .. }, Place::Inside { .. }) => {
            return Err(Failure::new(
                "cannot copy from one job to another: copy out of the one, then into the other",
            ));
        }
        (Place::Here(_), Place::Here(_)) => {
            return Err(Failure::new(
                "one of the two has to be JOB:PATH, for example: dauer cp crunch:/tmp/result .",
            ));
        }
    }
    Ok(0)
}

async fn copy_out(client: &Client, job: &str, path: &str, target: &str) -> Result<(), Failure> {
    let (path, contents) = contents(path);
    let destination = if target == "-" {
        None
    } else {
        Some(destination(target, contents)?)
    };
    let mut tar = client.copy_out(job, path).await?;
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let files = tokio::task::spawn_blocking(move || match destination {
        None => io::copy(&mut Pieces::new(receiver), &mut io::stdout().lock()).map(drop),
        Some((folder, name)) => archive::unpack(Pieces::new(receiver), &folder, name.as_deref()),
    });
    let received = receive(&mut tar, &sender).await;
    drop(sender);
    let written = files.await.map_err(Failure::because("internal error"))?;
    // A stream that was cut makes a broken archive too: its own error says more.
    received?;
    match written {
        Err(error) if target == "-" => Err(Failure::output(error)),
        other => other.map_err(Failure::because(format!("cannot write {target}"))),
    }
}

async fn receive(
    tar: &mut ByteReader,
    pieces: &mpsc::Sender<io::Result<Bytes>>,
) -> Result<(), Failure> {
    loop {
        match tar.next().await {
            Ok(Some(piece)) => {
                if pieces.send(Ok(piece)).await.is_err() {
                    // The files failed; their error is the one to tell.
                    return Ok(());
                }
            }
            Ok(None) => return Ok(()),
            Err(error) => {
                let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "cut");
                // Whether or not anybody listens, the error below is told.
                let _ = pieces.send(Err(cut)).await;
                return Err(error.into());
            }
        }
    }
}

async fn copy_in(client: &Client, source: &str, job: &str, path: &str) -> Result<(), Failure> {
    if source == "-" {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        std::thread::spawn(move || io::copy(&mut io::stdin().lock(), &mut Sender::new(sender)));
        return client
            .copy_in(job, path, stream(receiver))
            .await
            .map_err(Failure::from);
    }
    let (source, contents) = contents(source);
    let source = PathBuf::from(source);
    let meta = std::fs::symlink_metadata(&source).map_err(Failure::because(format!(
        "cannot read {}",
        source.display()
    )))?;
    let inside = what_is_at(client, job, path).await?;
    let (folder, name) = target_inside(&source, meta.is_dir(), contents, path, inside)?;
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    let reading = source.clone();
    let packing = tokio::task::spawn_blocking(move || {
        let mut pieces = Sender::new(sender);
        let packed =
            archive::pack(&reading, Path::new(&name), &mut pieces).and_then(|()| pieces.flush());
        if let Err(error) = &packed {
            pieces.fail(error);
        }
        packed
    });
    let sent = client.copy_in(job, &folder, stream(receiver)).await;
    let packed = packing.await.map_err(Failure::because("internal error"))?;
    match (sent, packed) {
        // The other side stopped listening, and says why.
        (Err(error @ Error::Refused(_)), _) => Err(error.into()),
        (_, Err(error)) => Err(Failure::new(format!(
            "cannot read {}: {error}",
            source.display()
        ))),
        (Err(error), Ok(())) => Err(error.into()),
        (Ok(()), Ok(())) => Ok(()),
    }
}

/// The path without a final `/.`, and whether it had one.
fn contents(path: &str) -> (&str, bool) {
    match path.strip_suffix("/.") {
        Some("") => ("/", true),
        Some(path) => (path, true),
        None => (path, path == "."),
    }
}

/// The folder here to unpack into, and the name to give the first component; `.` where it stands for its contents.
fn destination(target: &str, contents: bool) -> Result<(PathBuf, Option<String>), Failure> {
    let path = PathBuf::from(target);
    if path.is_dir() {
        return Ok((path, contents.then(|| ".".to_owned())));
    }
    if target.ends_with('/') {
        return Err(Failure::new(format!("there is no folder {target}")));
    }
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
        Some(parent) => parent.to_owned(),
        None => return Err(Failure::new(format!("cannot write to {target:?}"))),
    };
    if !parent.is_dir() {
        return Err(Failure::new(format!(
            "there is no folder {}",
            parent.display()
        )));
    }
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Failure::new(format!("cannot write to {target:?}")))?;
    Ok((parent, Some(name.to_owned())))
}

/// What a path inside a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inside {
    Folder,
    File,
    Nothing,
}

/// Asks for the path as a tar and looks only at its first entry.
async fn what_is_at(client: &Client, job: &str, path: &str) -> Result<Inside, Failure> {
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let mut tar = match client.copy_out(job, contents(&path).0).await {
            Ok(tar) => tar,
            // A path that is not there, or cannot be read; then unpacking says why.
            Err(Error::Refused(problem)) if problem.code == "invalid" => {
                return Ok(Inside::Nothing);
            }
            Err(error) => return Err(error.into()),
        };
        let mut head = Vec::new();
        // The first entry may have extended headers before it.
        while head.len() < 64 << 10 {
            match tar.next().await? {
                Some(piece) => head.extend_from_slice(&piece),
                None => break,
            }
        }
        match archive::first_entry(&head) {
            Some(archive::First::Folder) => return Ok(Inside::Folder),
            Some(archive::First::Link(to)) => {
                let parent = Path::new(&path).parent().unwrap_or(Path::new("/"));
                path = parent.join(to).to_string_lossy().into_owned();
            }
            Some(archive::First::File) | None => return Ok(Inside::File),
        }
    }
    Err(Failure::new(format!("too many links at {path}")))
}

/// The folder inside to unpack into, and the name of what goes there.
fn target_inside(
    source: &Path,
    source_is_folder: bool,
    contents: bool,
    path: &str,
    inside: Inside,
) -> Result<(String, String), Failure> {
    let target = Path::new(path);
    let beside = || {
        let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
            return Err(Failure::new(format!("cannot write to {path:?}")));
        };
        Ok((
            parent.to_string_lossy().into_owned(),
            name.to_string_lossy().into_owned(),
        ))
    };
    match inside {
        Inside::Folder if contents => Ok((path.to_owned(), ".".to_owned())),
        Inside::Folder => {
            let full = std::path::absolute(source).map_err(Failure::because("not a path"))?;
            let name = full
                .file_name()
                .ok_or_else(|| Failure::new("copy / as /. : its contents"))?;
            Ok((path.to_owned(), name.to_string_lossy().into_owned()))
        }
        Inside::File if source_is_folder => Err(Failure::new(format!(
            "{path} inside is a file: cannot copy the folder {} over it",
            source.display()
        ))),
        Inside::File => beside(),
        Inside::Nothing if path.ends_with('/') && !source_is_folder => {
            Err(Failure::new(format!("there is no folder {path} inside")))
        }
        Inside::Nothing => beside(),
    }
}

/// The pieces as a blocking reader.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Pieces {
    fn new(receiver: mpsc::Receiver<io::Result<Bytes>>) -> Self {
        Self {
            receiver,
            piece: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.piece.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_job_before_a_colon_is_inside() {
        let inside = |job: &str, path: &str| Place::Inside {
            job: job.into(),
            path: path.into(),
        };
        assert_eq!(Place::parse("web:/srv/x"), inside("web", "/srv/x"));
        assert_eq!(Place::parse("web:x"), inside("web", "/x"));
        for here in ["/a:b", "./a:b", "a", "-", "."] {
            assert_eq!(Place::parse(here), Place::Here(here.into()));
        }
    }

    #[test]
    fn a_source_goes_into_a_folder_and_becomes_anything_else() {
        let to = |folder, contents, path, inside| {
            target_inside(Path::new("/s/data"), folder, contents, path, inside).ok()
        };
        let pair = |folder: &str, name: &str| Some((folder.to_owned(), name.to_owned()));
        assert_eq!(
            to(true, false, "/srv", Inside::Folder),
            pair("/srv", "data")
        );
        assert_eq!(to(true, true, "/srv", Inside::Folder), pair("/srv", "."));
        assert_eq!(
            to(false, false, "/srv/new", Inside::Nothing),
            pair("/srv", "new")
        );
        assert_eq!(
            to(false, false, "/srv/old", Inside::File),
            pair("/srv", "old")
        );
        assert_eq!(to(true, false, "/srv/old", Inside::File), None);
        assert_eq!(to(false, false, "/srv/new/", Inside::Nothing), None);
    }
}
