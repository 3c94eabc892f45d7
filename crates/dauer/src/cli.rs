//! The command line: what there is to type, and the help that teaches it.

use crate::command::{
    attach, batch, build_step, cache, cancel, checkpoint, checkpoints, completion, cp, def, diff,
    doctor, events, exec, fork, gc, history, image, info, inspect, kill, logs, node, openapi, ps,
    queue, result, resume, retry, rm, rollback, run, schedule, serve, signal, snapshot, stop,
    store, submit, suspend, tag, token, usage, version, wait, warm,
};
use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

const HELP: &str = "\
Dauer runs any program in a sandbox that can be frozen with its memory, kept on disk at no cost,
thawed, and that survives the crash of everything around it.

  dauer run -- python3 crunch.py          run a program on this machine's own files, copy-on-write
  dauer run -d --name crunch -- ./crunch  the same in the background; prints the job's id
  dauer suspend crunch --for 3d           freeze it: no process, no memory, until it wakes
  dauer logs -f crunch                    its output, from the first byte

Run programs
  run          Run a program in a sandbox and show its output
  attach       Show a running job here, with its input and terminal
  exec         Run another program inside a job
  cp           Copy files into or out of a job
  diff         List the files that a job changed

Build step by step
  build-step   Run a program once, and keep its files for the next step
  cache        List, pin and remove what steps left under their keys

Queue jobs
  submit       Hand over a job made from a definition
  batch        Hand over many jobs at once
  def          Register, list and remove definitions
  warm         List and remove the states that jobs of definitions begin from
  queue        Limits for jobs that wait, by queue and by key
  schedule     Have jobs submitted at certain moments
  retry        Try jobs again that failed or were cancelled

Look at jobs
  ps           List jobs
  logs         Show a job's output
  inspect      Everything about a job, as JSON
  wait         Wait until a job has ended; exits with its code
  result       Print the output that a job left with its exit, as JSON
  events       What happened to jobs
  history      What was done, by whom, when and why
  tag          Set, remove or show a job's tags
  usage        Show what jobs have used

Talk to jobs
  signal       Send a named message to a job

Freeze and thaw
  checkpoint   Save a job with its memory; it goes on running
  suspend      Save a job with its memory and let it sleep
  resume       Wake a suspended job
  checkpoints  List a job's checkpoints
  rollback     Let a job go on from an earlier state of its own
  fork         Make jobs that go on as a job is, memory and all
  snapshot     Keep states of jobs beyond their end

End jobs
  stop         Ask a job to end: TERM, a grace, KILL
  cancel       End jobs that have not ended
  kill         Kill a job, or send it a signal
  rm           Remove ended jobs and their data

This machine
  image        Pull, import, list and remove images
  doctor       What each driver can do here, and what is missing
  info         The daemon and its drivers
  node         The daemons that share one store
  gc           Remove what nothing refers to any more
  store        Move, check, back up and restore what jobs are kept in
  token        Tokens for callers over a network
  serve        Run the daemon (other commands start it when none runs)
  completion   Completion for a shell
  openapi      Print the OpenAPI document of the API
  version      The version

Options
      --data-dir DIR  Where jobs are kept [DAUER_DATA_DIR; default /var/lib/dauer, ~/.local/share/dauer]
      --run-dir DIR   Where the socket is [DAUER_RUN_DIR; default /run/dauer, $XDG_RUNTIME_DIR/dauer]
      --host HOST     Talk to this daemon: unix:///path/dauer.sock, https://host:port [DAUER_HOST]
                      Over a network it asks for a token [DAUER_TOKEN]
      --tls-ca FILE   Trust only the certificates in this PEM file [DAUER_TLS_CA]
      --config FILE   Settings in TOML [DAUER_CONFIG]; a flag wins over the environment over the file
      --why TEXT      What the command is for, kept in the history with what it does [DAUER_WHY]
  -h, --help          This help; `dauer COMMAND --help` says more
  -V, --version       The version

A job is named by its id, its name, or a beginning of its id.
";

/// The command line.
#[derive(Debug, Parser)]
#[command(name = "dauer", version, override_help = HELP, disable_help_subcommand = true, max_term_width = 110)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Global {
    /// Where jobs are kept [env: DAUER_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    pub(crate) data_dir: Option<PathBuf>,
    /// Where the socket is [env: DAUER_RUN_DIR]
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    pub(crate) run_dir: Option<PathBuf>,
    /// The daemon to talk to [env: DAUER_HOST]
    #[arg(long, global = true, value_name = "HOST", hide = true)]
    pub(crate) host: Option<String>,
    /// Trust only the certificates in this PEM file [env: DAUER_TLS_CA]
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub(crate) tls_ca: Option<PathBuf>,
    /// Settings in TOML [env: DAUER_CONFIG]
    #[arg(long, global = true, value_name = "FILE", hide = true)]
    pub(crate) config: Option<PathBuf>,
    /// What the command is for, kept in the history [env: DAUER_WHY]
    #[arg(long, global = true, value_name = "TEXT", hide = true)]
    pub(crate) why: Option<String>,
}

/// What to do; what each does is said where its arguments are.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Run(Box<run::Args>),
    Attach(attach::Args),
    Exec(exec::Args),
    Cp(cp::Args),
    Diff(diff::Args),
    Ps(ps::Args),
    Logs(logs::Args),
    Inspect(inspect::Args),
    Wait(wait::Args),
    Events(events::Args),
    Result(result::Args),
    Signal(signal::Args),
    Checkpoint(checkpoint::Args),
    Suspend(suspend::Args),
    Resume(resume::Args),
    Checkpoints(checkpoints::Args),
    Tag(tag::Args),
    Usage(usage::Args),
    Stop(stop::Args),
    Kill(kill::Args),
    Rm(rm::Args),
    Def(def::Args),
    Warm(warm::Args),
    Queue(queue::Args),
    Submit(Box<submit::Args>),
    Batch(batch::Args),
    BuildStep(Box<build_step::Args>),
    Cache(cache::Args),
    Cancel(cancel::Args),
    Retry(retry::Args),
    Fork(fork::Args),
    Rollback(rollback::Args),
    Snapshot(snapshot::Args),
    Schedule(schedule::Args),
    History(history::Args),
    Doctor(doctor::Args),
    Image(image::Args),
    Info(info::Args),
    Node(node::Args),
    Gc(gc::Args),
    Token(token::Args),
    Serve(serve::Args),
    Store(store::Args),
    Completion(completion::Args),
    Openapi(openapi::Args),
    Version(version::Args),
}

impl Command {
    /// What this command exits with when Dauer itself fails. Commands that pass a program's own exit code on use 125,
    /// so that a script can tell the two apart.
    pub(crate) fn failure_code(&self) -> i32 {
        match self {
            Self::Run(_)
            | Self::BuildStep(_)
            | Self::Attach(_)
            | Self::Exec(_)
            | Self::Wait(_)
            | Self::Submit(_) => 125,
            Self::Cp(_)
            | Self::Diff(_)
            | Self::Ps(_)
            | Self::Logs(_)
            | Self::Inspect(_)
            | Self::Events(_)
            | Self::Result(_)
            | Self::Signal(_)
            | Self::Checkpoint(_)
            | Self::Suspend(_)
            | Self::Resume(_)
            | Self::Checkpoints(_)
            | Self::Tag(_)
            | Self::Usage(_)
            | Self::Stop(_)
            | Self::Kill(_)
            | Self::Rm(_)
            | Self::Def(_)
            | Self::Warm(_)
            | Self::Queue(_)
            | Self::Batch(_)
            | Self::Cache(_)
            | Self::Cancel(_)
            | Self::Retry(_)
            | Self::Fork(_)
            | Self::Rollback(_)
            | Self::Snapshot(_)
            | Self::Schedule(_)
            | Self::History(_)
            | Self::Doctor(_)
            | Self::Image(_)
            | Self::Info(_)
            | Self::Node(_)
            | Self::Gc(_)
            | Self::Token(_)
            | Self::Serve(_)
            | Self::Store(_)
            | Self::Completion(_)
            | Self::Openapi(_)
            | Self::Version(_) => 1,
        }
    }
}

/// What is wrong with a command line, on one line, and the exit code: 2, or 125 for a command that passes a program's
/// own code on.
pub(crate) fn usage_failure(error: &clap::Error, arguments: &[String]) -> (String, i32) {
    let rendered = error.render().to_string();
    let said: Vec<&str> = rendered
        .lines()
        .map(str::trim)
        .take_while(|line| !line.is_empty())
        .collect();
    let said = said.join(" ");
    let said = said.strip_prefix("error: ").unwrap_or(&said);
    let command = arguments
        .iter()
        .skip(1)
        .find(|word| is_command(word))
        .map(String::as_str);
    let said = match command {
        Some(command @ ("run" | "build-step" | "exec"))
            if error.kind() == ErrorKind::MissingRequiredArgument && said.contains("<COMMAND>") =>
        {
            let job = if command == "exec" { "JOB " } else { "" };
            format!(
                "no command: write it after --, for example: dauer {command} {job}-- echo hello"
            )
        }
        Some(_) | None => said.to_owned(),
    };
    let code = match command {
        Some("run" | "build-step" | "attach" | "exec" | "wait" | "submit") => 125,
        _ => 2,
    };
    let help = command.map_or_else(
        || "dauer --help".to_owned(),
        |command| format!("dauer {command} --help"),
    );
    (format!("{said}; see `{help}`"), code)
}

fn is_command(word: &str) -> bool {
    use clap::CommandFactory as _;
    Cli::command()
        .get_subcommands()
        .any(|command| command.get_name() == word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_names_every_command_with_its_own_words() {
        for command in Cli::command().get_subcommands() {
            let line = HELP
                .lines()
                .find(|line| line.starts_with(&format!("  {:<12} ", command.get_name())));
            let line = line.unwrap_or_else(|| panic!("{} is not in the help", command.get_name()));
            let about = command
                .get_about()
                .expect("every command says what it does")
                .to_string();
            assert!(line.contains(&about), "{line:?} does not say {about:?}");
        }
    }

    fn failure(line: &str) -> (String, i32) {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        usage_failure(&Cli::try_parse_from(&words).expect_err(line), &words)
    }

    #[test]
    fn a_wrong_command_line_is_one_line_that_says_what_to_do() {
        for (line, code, part) in [
            ("dauer frobnicate", 2, "frobnicate"),
            ("dauer build-step", 125, "after --"),
            (
                "dauer build-step --from x --image y -- true",
                125,
                "--image",
            ),
            ("dauer run --cache-key x -it -- true", 125, "--tty"),
            ("dauer run --timeout soon -- true", 125, "1h30m"),
            ("dauer run --env 1X=2 -- true", 125, "variable"),
            ("dauer run --memory lots -- true", 125, "512m"),
            ("dauer run --driver warp -- true", 125, "native"),
            ("dauer run --mount /nowhere -- true", 125, "SRC:DST"),
            ("dauer run --publish x -- true", 125, "8080:80"),
            ("dauer stop --grace 5 x", 2, "10s"),
            ("dauer kill --signal FOO x", 2, "TERM"),
            ("dauer suspend --for soon x", 2, "3d"),
            ("dauer rm", 2, "JOB"),
        ] {
            let (message, actual) = failure(line);
            assert_eq!(actual, code, "{line}");
            assert!(message.contains(part), "{line}: {message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
