//! `dauer run`: a program in a sandbox, in the foreground or not.

use crate::context::Context;
use crate::failure::{Failure, Outcome, report};
use crate::foreground::Foreground;
use crate::program::Program;
use crate::pulling::{self, PullPolicy, Unaccepted};
use crate::render;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::step::{self, CacheArgs};
use crate::terminal;
use crate::wishes::Wishes;
use clap::ValueHint;
use dauer_client::Client;
use dauer_core::parse;
use dauer_wire::http::{CreateJob, JobView, StepCall};
use std::io::IsTerminal as _;

/// So often a daemon may go away while a job is handed over.
const LOSSES_MAX: u32 = 5;

/// What makes it a step, which has no name, no input and no life without its caller.
const STEP: [&str; 3] = ["cache_key", "cache", "id_file"];

/// Run a program in a sandbox and show its output.
///
/// The output comes as it is written, and the exit code is the program's.
///
/// The image `host` (the default) is this machine's own root: whatever is installed here runs, and nothing it writes
/// reaches the host. An image from a registry is pulled where it is not here; what it says of commands, environment, folder and user holds
/// where nothing else is said. Standard input is passed where it is not a terminal, or with -i. Signals go on to the program.
/// If the daemon dies, it is started again and the output goes on where it was.
///
/// With --cache-key or --cache auto it is a step, as of `dauer build-step`: what it leaves is kept, and the same one is not run again.
///
/// Exit code: the program's own; 128 + signal where a signal ended it; 126 or 127 where it cannot be executed or
/// found; 125 where Dauer failed or was called wrongly.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer run -- echo hello
  dauer run --detach --name web --network nat --publish 8080:80 -- python3 -m http.server 80
  dauer run --memory 512m --cpus 0.5 --timeout 1h --mount /data:/data:ro -- ./crunch /data
  dauer run -it -- bash
  dauer run --cache-key report-2026-11 -- ./report
  dauer run --from built -- ./test
  dauer run --image debian:12 -- cat /etc/os-release
  tar c . | dauer run --image /srv/debian.tar -- tar t")]
pub(crate) struct Args {
    #[command(flatten)]
    program: Program,
    /// Begin on the files of this snapshot or checkpoint, in place of an image
    #[arg(long, value_name = "SNAPSHOT", conflicts_with = "image", conflicts_with_all = STEP)]
    from: Option<String>,
    /// A name, unique among the jobs that are kept
    #[arg(long, value_name = "NAME", value_parser = parse::name, conflicts_with_all = STEP)]
    name: Option<String>,
    /// Pass standard input, also from a terminal
    #[arg(short, long, conflicts_with_all = STEP)]
    interactive: bool,
    /// Give it a terminal, this one
    #[arg(short, long, conflicts_with = "detach", conflicts_with_all = STEP)]
    tty: bool,
    /// Run it in the background; prints the job's id and nothing else
    #[arg(short, long, conflicts_with_all = STEP)]
    detach: bool,
    /// Remove it and its data when it has ended
    #[arg(long, conflicts_with_all = STEP)]
    rm: bool,
    /// With --detach: print {"id": …} instead of the id. Else: print the job as a line of JSON on standard error when it has ended
    #[arg(long)]
    json: bool,
    /// When the registry is asked for the image
    #[arg(
        long,
        value_name = "missing|always|never",
        default_value = "missing",
        hide_possible_values = true
    )]
    pull: PullPolicy,
    #[command(flatten)]
    cache: CacheArgs,
    #[command(flatten)]
    wishes: Wishes,
    /// The program and its arguments, after --; an image may bring its own
    #[arg(trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    argv: Vec<String>,
}

impl Args {
    fn passes_stdin(&self) -> bool {
        if self.detach {
            return false;
        }
        self.interactive || self.tty || brings_something(&std::io::stdin())
    }

    /// Whether it matters now that a job can never be frozen: where an option is the reason, or a person looks on.
    fn wants_to_know(&self) -> bool {
        let chosen = self.program.chooses_driver();
        self.program.on_host_network() || (chosen && std::io::stderr().is_terminal())
    }

    fn job(&self, settings: &Settings) -> Result<CreateJob, Failure> {
        if self.argv.is_empty() && !self.program.has_own_command() {
            return Err(Failure::new(
                "no command: write it after --, for example: dauer run -- echo hello",
            ));
        }
        let mut job = CreateJob {
            name: self.name.clone(),
            argv: self.argv.clone(),
            tty: self.tty,
            stdin: self.passes_stdin(),
            remove_on_exit: self.rm,
            from: self.from.clone(),
            ..self.program.job()?
        };
        job.workdir = job.workdir.or_else(|| match self.from {
            // Whatever it is of, its files have folders of their own.
            Some(_) => None,
            None => self.program.present_folder(settings),
        });
        if self.tty && !job.env.contains_key("TERM") {
            job.env.extend(
                std::env::var("TERM")
                    .ok()
                    .map(|term| ("TERM".to_owned(), term)),
            );
        }
        self.wishes.add_to(&mut job)?;
        Ok(job)
    }
}

impl Args {
    /// The same as a step.
    async fn step(&self, context: &Context) -> Outcome {
        let mut job = CreateJob {
            argv: self.argv.clone(),
            ..self.program.job()?
        };
        job.workdir = job
            .workdir
            .or_else(|| self.program.present_folder(&context.settings));
        self.wishes.add_to(&mut job)?;
        let mut call = StepCall {
            job,
            ..StepCall::default()
        };
        self.cache.add_to(&mut call);
        step::show(&call, &self.cache, self.json, context).await
    }
}

/// Whether a job could read anything there that it does not find without: what a terminal types is passed on only where asked for, and
/// the null device is as empty as what the job has anyway.
fn brings_something(stdin: &std::io::Stdin) -> bool {
    use nix::sys::stat::{SFlag, fstat};
    let is_null = fstat(stdin).is_ok_and(|file| {
        let kind = SFlag::from_bits_truncate(file.st_mode) & SFlag::S_IFMT;
        kind == SFlag::S_IFCHR && file.st_rdev == nix::libc::makedev(1, 3)
    });
    !is_null && !stdin.is_terminal()
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    if args.tty && !terminal::is_there() {
        return Err(Failure::new(
            "-t needs a terminal on standard input and output; leave it away in scripts and pipes",
        ));
    }
    if args.cache.is_said() {
        return args.step(context).await;
    }
    let mut job = args.job(&context.settings)?;
    // It may have to be handed over again: then it is the same job.
    job.idempotency_key = Some(uuid::Uuid::now_v7().to_string());
    // Before the job exists, so that no signal falls between.
    let signals = if args.detach {
        None
    } else {
        Some(Signals::catch()?)
    };
    let client = context.client_unasked()?;
    let view = hand_over(&client, &job, args.pull, context).await?;
    if let Some(why) = view
        .cannot_freeze
        .as_deref()
        .filter(|_| args.wants_to_know())
    {
        report(&format!("note: {why}"));
    }
    let Some(signals) = signals else {
        render::print(&if args.json {
            format!("{{\"id\":\"{}\"}}\n", view.id)
        } else {
            format!("{}\n", view.id)
        })?;
        return Ok(0);
    };
    let foreground = Foreground {
        context,
        client,
        job: view.id,
        stdin: job.stdin,
        tty: job.tty,
        from: 0,
        detachable: false,
        json: args.json,
    };
    foreground.show(signals).await
}

/// Has the job accepted, once, however often the daemon goes away meanwhile. It is not asked first whether it is there: that would take a tenth of
/// what a short job takes.
async fn hand_over(
    client: &Client,
    job: &CreateJob,
    pull: PullPolicy,
    context: &Context,
) -> Result<JobView, Failure> {
    let mut losses = 0;
    loop {
        let lost = match pulling::create(client, job, pull).await {
            Ok(view) => return Ok(view),
            Err(Unaccepted::NoImage(failure)) => return Err(failure),
            Err(Unaccepted::Client(error)) if !error.is_disconnect() => return Err(error.into()),
            Err(Unaccepted::Client(lost)) => lost,
        };
        losses += 1;
        match losses {
            1 if matches!(lost, dauer_client::Error::Unreachable { .. }) => {
                context.find(&lost).await?;
            }
            // A daemon that dies of this very request would do so for ever.
            LOSSES_MAX.. => {
                return Err(Failure::new(format!(
                    "{lost} before it answered; `dauer ps -a` shows whether the job was accepted"
                )));
            }
            _ => context.reconnect(&lost).await?,
        }
    }
}
