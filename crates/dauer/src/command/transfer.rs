//! `dauer snapshot export` and `import`: a checkpoint to another machine, through a file or a pipe.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::render;
use bytes::Bytes;
use futures_util::Stream;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// What one read takes.
const READ_BYTES: usize = 256 << 10;

/// Arguments of `snapshot export`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExportArgs {
    /// The file to write; - or nothing for standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// A snapshot, a job (its newest checkpoint), or the whole id of a checkpoint
    #[arg(value_name = "SNAPSHOT")]
    snapshot: String,
}

/// Arguments of `snapshot import`.
#[derive(Debug, clap::Args)]
pub(crate) struct ImportArgs {
    /// Its name here; the one that it had where absent and free
    #[arg(long, value_name = "NAME", value_parser = dauer_core::parse::name)]
    name: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    /// The file to read; - or nothing for standard input
    #[arg(value_name = "FILE")]
    input: Option<PathBuf>,
}

/// How much went by, where somebody looks.
fn bar(total: Option<u64>) -> ProgressBar {
    let (bar, template) = match total {
        Some(total) => (
            ProgressBar::new(total),
            "{bar:30} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta}",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {binary_bytes} {binary_bytes_per_sec}",
        ),
    };
    let style = ProgressStyle::with_template(template);
    bar.with_style(style.expect("invariant: the templates above are sound"))
}

/// Runs `snapshot export`.
pub(crate) async fn export(args: &ExportArgs, context: &Context) -> Outcome {
    let file = args
        .output
        .as_deref()
        .filter(|path| *path != Path::new("-"));
    let Some(path) = file else {
        if io::stdout().is_terminal() {
            return Err(Failure::new(
                "this is no text: give a file with -o FILE, or send it through a pipe",
            ));
        }
        write(args, context, &mut tokio::io::stdout())
            .await?
            .map_err(Failure::output)?;
        return Ok(0);
    };
    let cannot = || Failure::because(format!("cannot write {}", path.display()));
    // Under another name until it is whole.
    let mut aside = path.as_os_str().to_owned();
    aside.push(".partial");
    let aside = PathBuf::from(aside);
    let written = async {
        let mut file = File::create(&aside).await.map_err(cannot())?;
        write(args, context, &mut file).await?.map_err(cannot())?;
        file.sync_all().await.map_err(cannot())?;
        tokio::fs::rename(&aside, path).await.map_err(cannot())
    };
    let written = written.await;
    if written.is_err() {
        // What is left of it is of no use; where it cannot be removed its name says so.
        let _ = tokio::fs::remove_file(&aside).await;
    }
    written.map(|()| 0)
}

/// Outside: the daemon's error; inside: that of the output.
async fn write(
    args: &ExportArgs,
    context: &Context,
    to: &mut (impl AsyncWrite + Unpin),
) -> Result<io::Result<()>, Failure> {
    let mut stream = context
        .client()
        .await?
        .export_snapshot(&args.snapshot)
        .await?;
    let bar = bar(None);
    while let Some(piece) = stream.next().await? {
        if let Err(error) = to.write_all(&piece).await {
            return Ok(Err(error));
        }
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    Ok(to.flush().await)
}

/// Runs `snapshot import`.
pub(crate) async fn import(args: &ImportArgs, context: &Context) -> Outcome {
    let client = context.client().await?;
    let name = args.name.as_deref();
    let file = args.input.as_deref().filter(|path| *path != Path::new("-"));
    let taken = match file {
        Some(path) => {
            let cannot = || Failure::because(format!("cannot read {}", path.display()));
            let file = File::open(path).await.map_err(cannot())?;
            let bytes = file.metadata().await.map_err(cannot())?.len();
            client
                .import_snapshot(name, pieces(file, bar(Some(bytes))))
                .await?
        }
        None => {
            client
                .import_snapshot(name, pieces(tokio::io::stdin(), bar(None)))
                .await?
        }
    };
    if args.json {
        render::print_json(&taken)?;
    } else {
        render::print(&format!("{}\n", taken.id))?;
    }
    Ok(0)
}

fn pieces(
    from: impl AsyncRead + Send + Unpin + 'static,
    bar: ProgressBar,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    futures_util::stream::unfold((from, bar), |(mut from, bar)| async move {
        let mut bytes = vec![0; READ_BYTES];
        let read = from.read(&mut bytes).await;
        match read {
            Ok(0) => {
                bar.finish_and_clear();
                None
            }
            Ok(length) => {
                bytes.truncate(length);
                bar.inc(length as u64);
                Some((Ok(Bytes::from(bytes)), (from, bar)))
            }
            Err(error) => Some((Err(error), (from, bar))),
        }
    })
}
