//! `dauer run`: a program in a sandbox, in the foreground or not.

use crate::context::Context;
use crate::failure::{Failure, Outcome, report};
use crate::foreground::Foreground;
use crate::render;
use crate::settings::Settings;
use crate::signals::Signals;
use crate::terminal;
use crate::wishes::Wishes;
use clap::ValueHint;
use dauer_core::parse;
use dauer_core::{Mount, Publish};
use dauer_wire::http::{CreateJob, MountView, PublishView};
use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

/// Run a program in a sandbox and show its output.
///
/// The output comes as it is written, and the exit code is the program's.
///
/// The image `host` (the default) is this machine's own root: whatever is installed here runs, and nothing it writes
/// reaches the host. Standard input is passed where it is not a terminal, or with -i. Signals go on to the program.
/// If the daemon dies, it is started again and the output goes on where it was.
///
/// Exit code: the program's own; 128 + signal where a signal ended it; 126 or 127 where it cannot be executed or
/// found; 125 where Dauer failed or was called wrongly.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  dauer run -- echo hello
  dauer run --detach --name web --network nat --publish 8080:80 -- python3 -m http.server 80
  dauer run --memory 512m --cpus 0.5 --timeout 1h --mount /data:/data:ro -- ./crunch /data
  dauer run -it -- bash
  tar c . | dauer run --image /srv/debian.tar -- tar t")]
pub(crate) struct Args {
    /// What makes the sandbox; auto takes the best that this machine and this user have
    #[arg(long, value_name = "DRIVER", value_parser = ["auto", "gvisor", "runc", "crun", "native"])]
    driver: Option<String>,
    /// The read-only root: host, a folder, or a tar file
    #[arg(long, value_name = "host|DIR|TAR", value_hint = ValueHint::AnyPath)]
    image: Option<String>,
    /// A name, unique among the jobs that are kept
    #[arg(long, value_name = "NAME", value_parser = parse::name)]
    name: Option<String>,
    /// A variable for the program; repeatable
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = parse::env_pair)]
    env: Vec<(String, String)>,
    /// Variables from a file, NAME=VALUE a line; --env wins
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    env_file: Vec<PathBuf>,
    /// Where the program starts, inside; with image host the present folder where it is left away
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// A path of the host made visible inside; repeatable
    #[arg(short = 'v', long, value_name = "SRC:DST[:ro]", value_parser = mount)]
    mount: Vec<Mount>,
    /// A folder copied into the working directory before the start
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    inject: Option<PathBuf>,
    /// How many CPUs it may use, for example 0.5
    #[arg(long, value_name = "NUMBER", value_parser = parse::cpus)]
    cpus: Option<u32>,
    /// How much memory it may use, for example 512m or 2g
    #[arg(short, long, value_name = "SIZE", value_parser = parse::bytes)]
    memory: Option<u64>,
    /// How long it may run, for example 30s or 1h30m
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms)]
    timeout: Option<u64>,
    /// What it reaches: only Dauer's API (none), the outside by address translation (nat), or all of the host's network
    #[arg(long, value_name = "none|nat|host", value_parser = ["none", "nat", "host"])]
    network: Option<String>,
    /// A port of the host forwarded to the program, with --network nat; repeatable
    #[arg(short, long, value_name = "HOST:GUEST", value_parser = parse::publish)]
    publish: Vec<Publish>,
    /// Who it runs as: a name in the image, or UID or UID:GID
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// From TERM to KILL when it is stopped
    #[arg(long, value_name = "DURATION", value_parser = parse::duration_ms, default_value = "10s")]
    stop_grace: u64,
    /// Pass standard input, also from a terminal
    #[arg(short, long)]
    interactive: bool,
    /// Give it a terminal, this one
    #[arg(short, long, conflicts_with = "detach")]
    tty: bool,
    /// Run it in the background; prints the job's id and nothing else
    #[arg(short, long)]
    detach: bool,
    /// Remove it and its data when it has ended
    #[arg(long)]
    rm: bool,
    /// With --detach: print {"id": …} instead of the id. Else: print the job as a line of JSON on standard error when it has ended
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    wishes: Wishes,
    /// The program and its arguments, after --
    #[arg(required = true, trailing_var_arg = true, value_name = "COMMAND", value_hint = ValueHint::CommandWithArguments)]
    argv: Vec<String>,
}

/// A mount whose source may be relative to where the user is.
fn mount(text: &str) -> Result<Mount, String> {
    if text.starts_with("./")
        || text.starts_with("../")
        || text.starts_with(".:")
        || text.starts_with("..:")
    {
        let (source, rest) = text.split_once(':').unwrap_or((text, ""));
        let source = std::path::absolute(source).map_err(|error| format!("{source}: {error}"))?;
        return parse::mount(&format!("{}:{rest}", source.display()));
    }
    parse::mount(text)
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
        let chosen = self
            .driver
            .as_deref()
            .is_some_and(|driver| driver != "auto");
        self.network.as_deref() == Some("host") || (chosen && std::io::stderr().is_terminal())
    }

    /// The folder the user is in, where the image has it too: nothing of the kernel's own folders and of Dauer's is inside.
    fn present_folder(&self, settings: &Settings) -> Option<String> {
        if self.image.as_deref().is_some_and(|image| image != "host") {
            return None;
        }
        let folder = std::env::current_dir().ok()?;
        let own = [&settings.layout.data, &settings.layout.run];
        let kernel = ["/dev", "/proc", "/run", "/sys"].map(Path::new);
        let hidden = own.iter().any(|path| folder.starts_with(path))
            || kernel.iter().any(|path| folder.starts_with(path));
        folder
            .into_os_string()
            .into_string()
            .ok()
            .filter(|_| !hidden)
    }

    fn job(&self, settings: &Settings) -> Result<CreateJob, Failure> {
        let mut env = BTreeMap::new();
        for file in &self.env_file {
            env.extend(read_env_file(file)?);
        }
        env.extend(self.env.iter().cloned());
        if self.tty && !env.contains_key("TERM") {
            env.extend(
                std::env::var("TERM")
                    .ok()
                    .map(|term| ("TERM".to_owned(), term)),
            );
        }
        let mut job = CreateJob {
            name: self.name.clone(),
            argv: self.argv.clone(),
            env,
            workdir: self
                .workdir
                .clone()
                .or_else(|| self.present_folder(settings)),
            driver: self.driver.clone(),
            image: self.image.as_deref().map(image).transpose()?,
            mounts: self.mount.iter().map(mount_view).collect(),
            inject: self.inject.as_deref().map(absolute).transpose()?,
            cpu_millis: self.cpus,
            memory_bytes: self.memory,
            timeout_ms: self.timeout,
            network: self.network.clone(),
            publish: self.publish.iter().map(publish_view).collect(),
            user: self.user.clone(),
            tty: self.tty,
            stdin: self.passes_stdin(),
            remove_on_exit: self.rm,
            stop_grace_ms: Some(self.stop_grace),
            ..CreateJob::default()
        };
        self.wishes.add_to(&mut job)?;
        Ok(job)
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
    let job = args.job(&context.settings)?;
    // Before the job exists, so that no signal falls between.
    let signals = if args.detach {
        None
    } else {
        Some(Signals::catch()?)
    };
    let client = context.client().await?;
    let view = client.create(&job).await.map_err(|error| {
        if error.is_disconnect() {
            Failure::new(format!(
                "{error} before it answered; `dauer ps -a` shows whether the job was accepted"
            ))
        } else {
            error.into()
        }
    })?;
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

/// `host`, or a path made absolute.
fn image(text: &str) -> Result<String, Failure> {
    match text {
        "host" => Ok(text.to_owned()),
        "" => Err(Failure::new(
            "--image is empty: give host, a folder or a tar file",
        )),
        path => absolute(Path::new(path)),
    }
}

fn absolute(path: &Path) -> Result<String, Failure> {
    let path =
        std::path::absolute(path).map_err(Failure::because(format!("{}", path.display())))?;
    path.into_os_string().into_string().map_err(|path| {
        Failure::new(format!(
            "{} is not UTF-8, which paths of jobs have to be",
            path.display()
        ))
    })
}

fn mount_view(mount: &Mount) -> MountView {
    MountView {
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
    }
}

fn publish_view(publish: &Publish) -> PublishView {
    PublishView {
        host_port: publish.host_port,
        guest_port: publish.guest_port,
    }
}

/// `NAME=VALUE` a line; empty lines and lines that begin with `#` say nothing.
fn read_env_file(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(Failure::because(format!("cannot read {}", path.display())))?;
    let mut env = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = parse::env_pair(line).map_err(Failure::because(format!(
            "{} line {}",
            path.display(),
            index + 1
        )))?;
        env.insert(name, value);
    }
    Ok(env)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_env_file_is_read_line_by_line_and_names_the_wrong_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env");
        std::fs::write(&path, "# words\n\nA=1\nB=two = 2\n").unwrap();
        let env = read_env_file(&path).unwrap();
        assert_eq!(
            (env["A"].as_str(), env["B"].as_str(), env.len()),
            ("1", "two = 2", 2)
        );
        std::fs::write(&path, "A=1\nnothing\n").unwrap();
        let Err(Failure::Message(message)) = read_env_file(&path) else {
            panic!("accepted")
        };
        assert!(message.contains("line 2"), "{message}");
    }

    #[test]
    fn a_relative_mount_is_relative_to_the_user() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(
            mount("./data:/data:ro").unwrap().source,
            here.join("data").to_str().unwrap()
        );
        assert!(mount("data:/data").is_err());
    }
}
