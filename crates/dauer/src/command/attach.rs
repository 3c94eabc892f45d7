//! `dauer attach`: a running job in front of the user.

use crate::context::Context;
use crate::failure::{Failure, Outcome};
use crate::foreground::Foreground;
use crate::signals::Signals;
use crate::terminal;

/// Past every end of a log: only what comes.
const FROM_NOW_ON: u64 = u64::MAX >> 1;

/// Show a running job here, with its input and terminal.
///
/// Output comes from now on; with --all from the job's start. Keys go to a job that was made with -i, signals to any.
/// ctrl-p ctrl-q leaves a job that has a terminal alone; it goes on.
///
/// Exit code: as of `dauer run`; 0 when it was left.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:
  dauer run -d -i --name shell -- sh
  dauer attach shell")]
pub(crate) struct Args {
    /// Also what it wrote before
    #[arg(long)]
    all: bool,
    /// The job
    #[arg(value_name = "JOB")]
    job: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args, context: &Context) -> Outcome {
    let signals = Signals::catch()?;
    let client = context.client().await?;
    let job = client.job(&args.job).await?;
    if job.exit_code.is_some() {
        return Err(Failure::new(format!(
            "job {} has ended ({}): see its output with `dauer logs {0}`",
            job.id, job.state
        )));
    }
    let asked = |what: &str| {
        let spec = job.spec.as_ref();
        spec.and_then(|spec| spec[what].as_bool()).unwrap_or(false)
    };
    let (stdin, tty) = (asked("stdin"), asked("tty"));
    if tty && !terminal::is_there() {
        return Err(Failure::new(
            "the job has a terminal, and there is none here; `dauer logs -f` shows its output",
        ));
    }
    let foreground = Foreground {
        context,
        client,
        job: job.id,
        stdin,
        tty,
        from: if args.all { 0 } else { FROM_NOW_ON },
        // Only there the keys come one by one.
        detachable: tty,
        json: false,
    };
    foreground.show(signals).await
}
