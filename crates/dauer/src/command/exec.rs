//! `dauer exec`: another program inside a job.

use crate::context::Context;
use crate::failure::{Failure, Outcome, report};
use crate::foreground::target;
use crate::input::Input;
use crate::output::Sink;
use crate::signals::{Came, Signals};
use crate::terminal;
use dauer_client::{ExecEvent, ExecReader, ExecSession, ExecWriter};
use dauer_core::parse;
use dauer_wire::http::ExecCall;
use std::io::IsTerminal as _;

/// Run another program inside a job.
///
/// The job has to be running. The output comes as it is written, and the exit code is the program's.
///
/// Exit code: as of `dauer run`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer exec crunch -- ps aux
  dauer exec -it crunch -- bash")]
pub(crate) struct Args {
    /// Pass standard input, also from a terminal
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal, this one
    #[arg(short, long)]
    tty: bool,
    /// A variable for the program; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse::env_pair)]
    env: Vec<(String, String)>,
    /// Where the program starts, inside; the job's where absent
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// Who it runs as; the job's where absent
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
    /// The program and its arguments, after --
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND")]
    argv: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    if args.tty && !terminal::is_there() {
        return Err(Failure::new(
            "-t needs a terminal on standard input and output; leave it away in scripts and pipes",
        ));
    }
    let stdin = args.interactive || args.tty || !std::io::stdin().is_terminal();
    let mut env: std::collections::BTreeMap<_, _> = args.env.into_iter().collect();
    if args.tty && !env.contains_key("TERM") {
        env.extend(
            std::env::var("TERM")
                .ok()
                .map(|term| ("TERM".to_owned(), term)),
        );
    }
    let tty = args.tty.then(|| terminal::size().unwrap_or((24, 80)));
    let call = ExecCall {
        argv: args.argv,
        env,
        workdir: args.workdir,
        user: args.user,
        tty,
        stdin,
    };
    let signals = Signals::catch()?;
    let session = context.client().await?.exec(&args.job, &call).await?;
    let raw = if args.tty {
        Some(terminal::Raw::enter()?)
    } else {
        None
    };
    let sink = Sink::start();
    let result = relay(session, &sink, signals, stdin, args.tty).await;
    let written = sink.finish();
    drop(raw);
    let code = result?;
    written.map_err(Failure::output)?;
    Ok(code)
}

async fn relay(
    session: ExecSession,
    sink: &Sink,
    mut signals: Signals,
    stdin: bool,
    tty: bool,
) -> Outcome {
    let (mut reader, writer) = session.split();
    let (told, tell) = tokio::sync::mpsc::channel(4);
    let telling = tell_program(writer, tell, stdin);
    let closed = sink.closed();
    tokio::pin!(telling);
    let mut told_all = false;
    // One future over all rounds: a frame that is half read must not be dropped.
    let showing = show(&mut reader, sink);
    tokio::pin!(showing);
    loop {
        tokio::select! {
            ended = &mut showing => return ended,
            // An error of this side shows on the other one, with the program's end before it.
            () = &mut telling, if !told_all => told_all = true,
            came = signals.next() => {
                if tty || matches!(came, Came::Signal(_)) {
                    // Full only where the program's side is stuck; then the signal is lost and can be repeated.
                    let _ = told.try_send(came);
                }
            }
            () = closed.notified() => return Err(Failure::Quiet(crate::failure::OUTPUT_CLOSED)),
        }
    }
}

async fn show(reader: &mut ExecReader, sink: &Sink) -> Outcome {
    loop {
        match reader.next().await {
            Ok(ExecEvent::Output { stream, bytes }) => sink.send(target(stream), bytes).await,
            Ok(ExecEvent::Exited(status)) => {
                return Ok(status
                    .code
                    .or(status.signal.map(|signal| 128 + signal))
                    .unwrap_or(125));
            }
            Ok(ExecEvent::Failed(failure)) => {
                report(&failure.message);
                return Ok(failure.code);
            }
            Err(error) if error.is_disconnect() => {
                return Err(Failure::new(
                    "the session was cut: the job was frozen or ended, or the daemon died",
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Passes input, signals and sizes on until there is nothing more to say.
async fn tell_program(
    mut writer: ExecWriter,
    mut tell: tokio::sync::mpsc::Receiver<Came>,
    stdin: bool,
) {
    let input = stdin.then(Input::start);
    let mut open = stdin;
    loop {
        let sent = tokio::select! {
            came = tell.recv() => match came {
                Some(Came::Signal(number)) => writer.signal(number).await,
                Some(Came::Resized) => match terminal::size() {
                    Some((rows, columns)) => writer.resize(rows, columns).await,
                    None => Ok(()),
                },
                None => return,
            },
            piece = async { match &input { Some(input) => input.next().await, None => None } }, if open => match piece {
                Some(Ok(bytes)) => writer.input(&bytes).await,
                // What cannot be read has ended.
                Some(Err(_)) | None => {
                    open = false;
                    writer.end_of_input().await
                }
            },
        };
        if sent.is_err() {
            return;
        }
    }
}
