//! `dauer image import`: images from files, folders and pipes.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::folder_tar;
use crate::pieces::{Sender, stream};
use crate::render;
use bytes::Bytes;
use clap::ValueHint;
use dauer_client::ImportWish;
use indicatif::{ProgressBar, ProgressStyle};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use tokio::sync::mpsc;

/// Read ahead of the connection.
const PIECES_MAX: usize = 4;

const PIECE_BYTES: usize = 512 << 10;

/// Make an image of a tar, an archive or a folder.
///
/// What it is, is seen from what is in it: an archive of the OCI's image layout, what `docker save` writes, or else a root file system.
/// A tar may be packed with gzip or zstd. Prints the digest of each image.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  docker save team/tool:1 | dauer image import -
  dauer image import rootfs.tar.zst mine:1
  debootstrap stable ./root && dauer image import ./root debian:own
  dauer run --image mine:1 -- sh")]
pub(super) struct Args {
    /// Which one of an archive for several kinds of machines, for example linux/arm64
    #[arg(long, value_name = "OS/ARCH")]
    platform: Option<String>,
    /// It is a root file system, even where it looks like an archive of images
    #[arg(long)]
    root: bool,
    /// Print the images as JSON
    #[arg(long)]
    json: bool,
    /// A tar, a folder, or - for standard input
    #[arg(value_name = "TAR|DIR|-", value_hint = ValueHint::AnyPath)]
    source: PathBuf,
    /// What to call the image; an archive says it itself
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Runs the command.
pub(super) async fn run(args: Args, context: &Context) -> Outcome {
    // Before the daemon is asked for anything.
    let source = Source::open(&args.source)?;
    let client = context.client().await?;
    let wish = ImportWish {
        name: args.name,
        platform: args.platform,
        root: args.root,
    };
    let (sender, receiver) = mpsc::channel(PIECES_MAX);
    // Not joined: it may wait for input for ever, and ends with the process or with the connection.
    std::thread::spawn(move || source.send(sender));
    let list = client.import_images(&wish, stream(receiver)).await?;
    if args.json {
        render::print_json(&list)?;
        return Ok(0);
    }
    for image in list.images {
        render::print(&format!("{}\n", image.digest))?;
    }
    Ok(0)
}

enum Source {
    Stdin,
    File(File, u64),
    Folder(PathBuf),
}

impl Source {
    fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::Stdin);
        }
        let cannot =
            |error: io::Error| Failure::new(format!("cannot read {}: {error}", path.display()));
        let file = File::open(path).map_err(cannot)?;
        let meta = file.metadata().map_err(cannot)?;
        Ok(if meta.is_dir() {
            Self::Folder(path.to_owned())
        } else {
            Self::File(file, meta.len())
        })
    }

    fn send(self, sender: mpsc::Sender<io::Result<Bytes>>) {
        match self {
            Self::Stdin => send_all(io::stdin().lock(), &sender, &ProgressBar::hidden()),
            Self::File(file, bytes) => {
                let style = ProgressStyle::with_template(
                    "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
                )
                .expect("invariant: the template is sound");
                let bar = ProgressBar::new(bytes).with_style(style);
                send_all(file, &sender, &bar);
                bar.finish_and_clear();
            }
            Self::Folder(folder) => {
                let mut pieces = Sender::new(sender);
                if let Err(error) = folder_tar::write(&folder, &mut pieces) {
                    pieces.fail(&error);
                }
            }
        }
    }
}

fn send_all(mut source: impl Read, sender: &mpsc::Sender<io::Result<Bytes>>, bar: &ProgressBar) {
    loop {
        let mut piece = vec![0; PIECE_BYTES];
        let read = match source.read(&mut piece) {
            Ok(0) => return,
            Ok(length) => {
                piece.truncate(length);
                bar.inc(length as u64);
                Ok(piece.into())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let is_end = read.is_err();
        // Whoever stopped listening has said why.
        if sender.blocking_send(read).is_err() || is_end {
            return;
        }
    }
}
