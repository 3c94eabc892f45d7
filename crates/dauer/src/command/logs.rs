//! `dauer logs`: a job's output, from the first byte.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::foreground::target;
use crate::output::{Sink, Target};
use crate::render;
use bytes::{Bytes, BytesMut};
use dauer_client::{LogItem, LogStream, Output};
use dauer_core::parse;
use jiff::Timestamp;

/// Show a job's output.
///
/// What it wrote to standard output goes to standard output, the rest to standard error.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer logs -f crunch
  dauer logs --since 10m --timestamps crunch
  dauer logs --since 2026-01-31T12:00:00Z crunch")]
pub(crate) struct Args {
    /// Wait for more until the job has ended
    #[arg(short, long)]
    follow: bool,
    /// Only from this offset of the log on, or this time: 2026-01-31T12:00:00Z, or 10m ago
    #[arg(long, value_name = "OFFSET|TIME", value_parser = since)]
    since: Option<Since>,
    /// Each line with the time it was written
    #[arg(short, long)]
    timestamps: bool,
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Offset(u64),
    At(i64),
}

fn since(text: &str) -> Result<Since, String> {
    if let Ok(offset) = text.parse() {
        return Ok(Since::Offset(offset));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Since::At(at.as_millisecond()));
    }
    let ago = parse::duration_ms(text).map_err(|_| {
        format!("{text:?} is no place in a log: write an offset such as 4096, a time such as 2026-01-31T12:00:00Z, or 10m")
    })?;
    let ago = i64::try_from(ago).unwrap_or(i64::MAX);
    Ok(Since::At(
        Timestamp::now().as_millisecond().saturating_sub(ago),
    ))
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let client = context.client().await?;
    let (offset, begins_at) = match args.since {
        None => (0, i64::MIN),
        Some(Since::Offset(offset)) => (offset, i64::MIN),
        Some(Since::At(at)) => (0, at),
    };
    let log = client.logs(&args.job, offset, args.follow);
    let sink = Sink::start();
    let result = copy(log, &sink, context, begins_at, args.timestamps).await;
    sink.finish().map_err(Failure::output)?;
    result.map(|()| 0)
}

async fn copy(
    mut log: LogStream,
    sink: &Sink,
    context: &Context,
    begins_at: i64,
    timestamps: bool,
) -> Result<(), Failure> {
    let closed = sink.closed();
    let mut stamps = [Stamper::default(), Stamper::default()];
    loop {
        let item = tokio::select! {
            item = log.next() => item,
            // The sink knows why.
            () = closed.notified() => return Ok(()),
        };
        match item {
            Ok(Some(LogItem::Output(output))) if output.at < begins_at => {}
            Ok(Some(LogItem::Output(output))) => {
                let target = target(output.stream);
                let bytes = match (timestamps, target) {
                    (false, _) => output.bytes,
                    (true, Target::Stdout) => stamps[0].stamp(&output),
                    (true, Target::Stderr) => stamps[1].stamp(&output),
                };
                sink.send(target, bytes).await;
            }
            Ok(Some(LogItem::Marker { marker, .. })) => {
                if let Some(line) = render::marker(&marker) {
                    sink.note(&line, false).await;
                }
            }
            Ok(Some(LogItem::End { .. }) | None) => return Ok(()),
            Err(lost) if lost.is_disconnect() => context.reconnect(&lost).await?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Puts the time before each line of one stream.
#[derive(Debug, Default)]
struct Stamper {
    inside_line: bool,
}

impl Stamper {
    fn stamp(&mut self, output: &Output) -> Bytes {
        let time = render::time(output.at);
        let mut out = BytesMut::with_capacity(output.bytes.len() * 2);
        for line in output.bytes.split_inclusive(|byte| *byte == b'\n') {
            if !self.inside_line {
                out.extend_from_slice(time.as_bytes());
                out.extend_from_slice(b" ");
            }
            out.extend_from_slice(line);
            self.inside_line = !line.ends_with(b"\n");
        }
        out.freeze()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_log_is_an_offset_a_time_or_an_age() {
        assert_eq!(since("4096"), Ok(Since::Offset(4096)));
        assert_eq!(since("1970-01-01T00:00:01Z"), Ok(Since::At(1000)));
        assert!(matches!(since("10m"), Ok(Since::At(_))));
        assert!(since("yesterday").unwrap_err().contains("10m"));
    }

    #[test]
    fn a_line_gets_one_time_however_it_is_cut() {
        let mut stamper = Stamper::default();
        let piece = |bytes: &'static [u8]| Output {
            at: 0,
            stream: dauer_wire::guest::Stream::Stdout,
            bytes: Bytes::from_static(bytes),
        };
        let all: Vec<u8> = [&b"one\ntw"[..], b"o\n", b"\n"]
            .into_iter()
            .flat_map(|b| stamper.stamp(&piece(b)))
            .collect();
        let stamp = "1970-01-01T00:00:00.000Z";
        assert_eq!(
            String::from_utf8(all).unwrap(),
            format!("{stamp} one\n{stamp} two\n{stamp} \n")
        );
    }
}
