//! The one binary of Dauer: command line, daemon and shim.
//!
//! Reading order: `main` (which of the three), [`cli`] (what there is to type), `command/` (a file each),
//! [`launch`] (how the daemon comes to run), [`foreground`] (a job in front of the user).

mod archive;
mod cache_room;
mod cli;
mod command;
mod context;
mod documents;
mod failure;
mod folder_tar;
mod foreground;
mod input;
mod launch;
mod member;
mod output;
mod panic;
mod pieces;
mod policy;
mod program;
mod pulling;
mod registry_login;
mod render;
mod settings;
mod signals;
mod standing;
mod step;
mod terminal;
mod waiting;
mod wishes;

use clap::Parser as _;
use cli::{Cli, Command};
use command::{
    attach, batch, build_step, cache, cancel, checkpoint, checkpoints, completion, cp, def, diff,
    doctor, events, exec, fork, gc, history, image, info, inspect, kill, logs, node, openapi, ps,
    queue, result, resume, retry, rm, rollback, run, schedule, serve, signal, snapshot, stop,
    store, submit, suspend, tag, token, usage, version, wait, warm,
};
use context::Context;
use failure::{Failure, Outcome, report};
use settings::Settings;
use std::ffi::OsString;
use std::path::Path;

fn main() {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    // Before anything else: the shim is a program of its own, without a runtime or a command line.
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("shim") => match arguments.get(2) {
            Some(spec) => std::process::exit(dauer_sandbox::shim::run(Path::new(spec))),
            None => fail("shim is started by the daemon, with the path of a spec", 2),
        },
        Some("sandbox-files") => {
            let words: Vec<String> = arguments[2..]
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            std::process::exit(dauer_sandbox::view::run(&words))
        }
        Some("snapshot-stream") => {
            let words: Vec<String> = arguments[2..]
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            std::process::exit(dauer_sandbox::stream::run(&words))
        }
        Some(_) | None => std::process::exit(command_line(&arguments)),
    }
}

fn fail(message: &str, code: i32) -> ! {
    report(message);
    std::process::exit(code)
}

/// Runs a command of the user; returns the exit code.
fn command_line(arguments: &[OsString]) -> i32 {
    panic::install();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, arguments),
    };
    let failure_code = cli.command.failure_code();
    panic::exit_with(failure_code);
    match dispatch(cli) {
        Ok(code) => code,
        Err(Failure::Message(message)) => {
            report(&message);
            failure_code
        }
        Err(Failure::Coded(message, code)) => {
            report(&message);
            code
        }
        Err(Failure::Quiet(code)) => code,
    }
}

/// Help and version are asked for in the form of an error; anything else is one line.
fn not_understood(error: &clap::Error, arguments: &[OsString]) -> i32 {
    use clap::error::ErrorKind::{
        DisplayHelp, DisplayHelpOnMissingArgumentOrSubcommand, DisplayVersion,
    };
    match error.kind() {
        DisplayHelp | DisplayVersion => match render::print(&error.render().to_string()) {
            Ok(()) => 0,
            Err(Failure::Quiet(code) | Failure::Coded(_, code)) => code,
            Err(Failure::Message(_)) => 1,
        },
        DisplayHelpOnMissingArgumentOrSubcommand => {
            eprint!("{}", error.render());
            2
        }
        _ => {
            let words: Vec<String> = arguments
                .iter()
                .map(|word| word.to_string_lossy().into_owned())
                .collect();
            let (message, code) = cli::usage_failure(error, &words);
            report(&message);
            code
        }
    }
}

/// What needs no daemon and no runtime first.
fn dispatch(cli: Cli) -> Outcome {
    match cli.command {
        Command::Version(_) => version::run(),
        Command::Completion(args) => completion::run(&args),
        Command::Openapi(_) => openapi::run(),
        Command::Doctor(args) => doctor::run(&args, &Settings::load(&cli.global)?),
        Command::Serve(args) => serve::run(&args, Settings::load(&cli.global)?),
        Command::Store(args) => store::run(args, &Settings::load(&cli.global)?),
        command => {
            let context = Context {
                settings: Settings::load(&cli.global)?,
            };
            // A command waits for one thing at a time: one thread starts in less than a millisecond.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(Failure::because("cannot start"))?;
            let outcome = runtime.block_on(talk(command, &context));
            // A thread may wait for a key for ever.
            runtime.shutdown_background();
            outcome
        }
    }
}

/// Commands that talk to the daemon.
async fn talk(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Run(args) => run::run(*args, context).await,
        Command::Attach(args) => attach::run(args, context).await,
        Command::Exec(args) => exec::run(args, context).await,
        Command::Cp(args) => cp::run(args, context).await,
        Command::Diff(args) => diff::run(args, context).await,
        Command::Ps(args) => ps::run(args, context).await,
        Command::Logs(args) => logs::run(args, context).await,
        Command::Inspect(args) => inspect::run(args, context).await,
        Command::Wait(args) => wait::run(args, context).await,
        Command::Events(args) => events::run(args, context).await,
        Command::Result(args) => result::run(args, context).await,
        Command::Signal(args) => signal::run(args, context).await,
        Command::Checkpoint(args) => checkpoint::run(args, context).await,
        Command::Suspend(args) => suspend::run(args, context).await,
        Command::Resume(args) => resume::run(args, context).await,
        Command::Checkpoints(args) => checkpoints::run(args, context).await,
        Command::Stop(args) => stop::run(args, context).await,
        Command::Kill(args) => kill::run(args, context).await,
        Command::Rm(args) => rm::run(args, context).await,
        Command::Token(args) => token::run(args, context).await,
        Command::Def(args) => def::run(args, context).await,
        Command::Warm(args) => warm::run(args, context).await,
        Command::Gc(args) => gc::run(args, context).await,
        Command::Node(args) => node::run(args, context).await,
        Command::Queue(args) => queue::run(args, context).await,
        Command::Submit(args) => submit::run(*args, context).await,
        Command::BuildStep(args) => build_step::run(*args, context).await,
        Command::Cache(args) => cache::run(args, context).await,
        Command::Batch(args) => batch::run(args, context).await,
        Command::Cancel(args) => cancel::run(args, context).await,
        Command::Retry(args) => retry::run(args, context).await,
        Command::Fork(args) => fork::run(args, context).await,
        Command::Rollback(args) => rollback::run(args, context).await,
        Command::Snapshot(args) => snapshot::run(args, context).await,
        Command::Tag(args) => tag::run(args, context).await,
        Command::Usage(args) => usage::run(args, context).await,
        Command::Schedule(args) => schedule::run(args, context).await,
        Command::History(args) => history::run(args, context).await,
        Command::Image(args) => image::run(args, context).await,
        Command::Info(args) => info::run(args, context).await,
        Command::Doctor(_)
        | Command::Serve(_)
        | Command::Store(_)
        | Command::Completion(_)
        | Command::Openapi(_)
        | Command::Version(_) => {
            unreachable!("dispatched without a runtime")
        }
    }
}
