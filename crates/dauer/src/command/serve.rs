//! `dauer serve`: the daemon.

use crate::cache_room::{self, CacheRoom};
use crate::failure::{Failure, Outcome};
use crate::launch::{self, BUSY, READY};
use crate::member;
use crate::settings::Settings;
use dauer_core::parse;
use dauer_engine::{Engine, Keep, Room};
use dauer_sandbox::Layout;
use dauer_server::{About, Listener, Runtime, Serving, Tcp, Tls};
use dauer_store::{Sqlite, Store};
use nix::fcntl::{Flock, FlockArg};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Threads of the daemon: it waits far more than it works.
const WORKERS: usize = 2;

/// Each of the allocator's arenas keeps memory that was once used.
const ARENAS: i32 = 2;

/// Requests a second of each token where nobody says otherwise.
const RATE_DEFAULT: u32 = 1000;

/// Descriptors that are open at once: two for each reader of a stream.
const OPEN_FILES_MAX: u64 = 65_536;

/// Longer than most jobs sleep that wait for something.
const PACK_AFTER: &str = "10m";

/// How long the history is kept where nobody says otherwise.
const HISTORY_KEEP: &str = "30d";

/// Longer than a year, so that each month can be compared with the one a year before.
const USAGE_KEEP: &str = "400d";

/// What a daemon exits with that another one took over from: a service manager is to start it again.
const FENCED: i32 = 75;

/// How long a lock that is held is waited for.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// Run the daemon.
///
/// In the foreground, until TERM or INT. Jobs live on without it.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Other commands start a daemon when none runs. DAUER_LOG sets what it logs, for example DAUER_LOG=debug.

Examples:
  dauer serve --listen 127.0.0.1:8080
  dauer serve --listen 0.0.0.0:8443 --tls-self-signed
  dauer serve --store postgres://dauer@db.example/jobs

Exit code: 75 where another daemon on the same store took over from this one; start it again."
)]
pub(crate) struct Args {
    /// How many sandboxes live at once; further jobs wait for their turn [default: as many as the memory holds]
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_running: Option<u32>,
    #[command(flatten)]
    room: RoomArgs,
    /// No job begins until `dauer queue resume --all`; those that began go on
    #[arg(long)]
    paused: bool,
    /// Begin so after so many daemons in a row that died within 10 minutes, none of which saw a job complete [default: never]
    #[arg(long, value_name = "NUMBER")]
    pause_after_crashes: Option<u32>,
    /// Also listen on the network: callers there show a token (see `dauer token`)
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Certificate chain in PEM; with --tls-key. HUP reads both again
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "listen")]
    tls_cert: Option<PathBuf>,
    /// Its key in PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// TLS with a certificate of its own, in DATA/tls; clients trust it with --tls-ca
    #[arg(long, requires = "listen", conflicts_with = "tls_cert")]
    tls_self_signed: bool,
    /// Listen without TLS also where others can listen in
    #[arg(long, requires = "listen")]
    insecure: bool,
    /// Requests a second that each token may make; 0 for any number
    #[arg(long, value_name = "N", default_value_t = RATE_DEFAULT)]
    rate: u32,
    /// How long usage is kept after it ended (see `dauer usage`); 0s for ever
    #[arg(long, value_name = "DURATION", value_parser = dauer_core::parse::duration_ms, default_value = USAGE_KEEP)]
    usage_keep: u64,
    /// How long the history is kept (see `dauer history`); 0s for ever [DAUER_HISTORY_KEEP; default 30d]
    #[arg(long, value_name = "DURATION", value_parser = is_duration)]
    history_keep: Option<String>,
    /// How long jobs that have ended are kept, with their logs and files; 0s for ever [DAUER_JOBS_KEEP; default for ever]
    #[arg(long, value_name = "DURATION", value_parser = is_duration)]
    jobs_keep: Option<String>,
    /// How long a checkpoint rests before it is packed, so that it takes no room for what others have too; 0s for never
    /// [DAUER_PACK_AFTER; default 10m]
    #[arg(long, value_name = "DURATION", value_parser = is_duration)]
    pack_after: Option<String>,
    #[command(flatten)]
    cache_room: CacheRoom,
    /// Where jobs are kept: postgres://USER@HOST/NAME, redis://HOST, sqlite:PATH [DAUER_STORE; default a file in the data folder]
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// How long other daemons on the same store wait for this one before they take over its jobs [DAUER_LEASE; default 45s]
    #[arg(long, value_name = "DURATION", value_parser = is_duration)]
    lease: Option<String>,
    /// Standard input is a pipe to say through whether the daemon came up
    #[arg(long, hide = true)]
    started_by_command: bool,
}

/// What there is for jobs that ask for it.
#[derive(Debug, clap::Args)]
struct RoomArgs {
    /// Processors for jobs that ask for some with --cpus [default: all of the machine, or of its control group]
    #[arg(long, value_name = "NUMBER", value_parser = parse::cpus)]
    cpus: Option<u32>,
    /// Memory for jobs that ask for some with --memory [default: all of the machine, or of its control group]
    #[arg(long, value_name = "SIZE", value_parser = parse::bytes)]
    memory: Option<u64>,
    /// The processors are given away so many times over [default: 4]
    #[arg(long, value_name = "TIMES", value_parser = overcommit)]
    cpu_overcommit: Option<f64>,
    /// The memory is given away so many times over [default: 1]
    #[arg(long, value_name = "TIMES", value_parser = overcommit)]
    memory_overcommit: Option<f64>,
}

impl RoomArgs {
    /// What is said here wins.
    fn add_to(&self, room: &mut Room) {
        room.cpu_millis = self.cpus.map(u64::from).or(room.cpu_millis);
        room.memory_bytes = self.memory.or(room.memory_bytes);
        room.cpu_overcommit = self.cpu_overcommit.or(room.cpu_overcommit);
        room.memory_overcommit = self.memory_overcommit.or(room.memory_overcommit);
    }
}

/// A factor that leaves something.
pub(crate) fn overcommit(text: &str) -> Result<f64, String> {
    let factor = text.parse::<f64>().ok();
    factor
        .filter(|factor| (0.1..=1000.0).contains(factor))
        .ok_or_else(|| format!("{text:?} is not a factor from 0.1 to 1000: write for example 1.5"))
}

/// Runs the command.
pub(crate) fn run(args: &Args, mut settings: Settings) -> Outcome {
    let said = args
        .max_running
        .and_then(|number| usize::try_from(number).ok());
    settings.room.live_max = said.or(settings.room.live_max);
    args.room.add_to(&mut settings.room);
    args.cache_room.add_to(&mut settings);
    settings.history_keep = args.history_keep.clone().or(settings.history_keep);
    settings.jobs_keep = args.jobs_keep.clone().or(settings.jobs_keep);
    settings.pack_after = args.pack_after.clone().or(settings.pack_after);
    settings.store = args.store.clone().or(settings.store);
    settings.lease = args.lease.clone().or(settings.lease);
    let mut ready = args.started_by_command.then(take_ready_pipe).transpose()?;
    let outcome = serve(args, settings, &mut ready);
    if let Err(Failure::Message(why)) = &outcome {
        say(&mut ready, why);
    }
    outcome
}

/// Tells the command that started this daemon, once. It may be gone; then nobody needs to know.
fn say(ready: &mut Option<File>, what: &str) {
    if let Some(mut pipe) = ready.take() {
        let _ = pipe.write_all(what.as_bytes());
    }
}

/// Standard input becomes `/dev/null`; what it was is returned.
fn take_ready_pipe() -> Result<File, Failure> {
    let taken = nix::unistd::dup(std::io::stdin())
        .map_err(Failure::because("cannot keep the ready pipe"))?;
    let null = File::open("/dev/null").map_err(Failure::because("cannot open /dev/null"))?;
    nix::unistd::dup2_stdin(&null).map_err(Failure::because("cannot replace standard input"))?;
    nix::fcntl::fcntl(
        &taken,
        nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC),
    )
    .map_err(Failure::because("cannot keep the ready pipe"))?;
    Ok(File::from(taken))
}

fn serve(args: &Args, settings: Settings, ready: &mut Option<File>) -> Outcome {
    // A panic ends only the task it happens in.
    crate::panic::exit_with(0);
    log_to_stderr();
    // SAFETY: mallopt only sets a limit, and no other thread runs yet.
    unsafe { nix::libc::mallopt(nix::libc::M_ARENA_MAX, ARENAS) };
    allow_open_files();
    launch::make_folder(&settings.layout.data)?;
    launch::make_folder(&settings.layout.run)?;
    let Some(_alone) = lock(&settings.layout.lock())? else {
        if ready.is_some() {
            say(ready, BUSY);
            return Ok(0);
        }
        return Err(Failure::new(format!(
            "another daemon serves {}: use that one, or give this one another --data-dir",
            settings.layout.data.display()
        )));
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .thread_name("dauer")
        .enable_all()
        .build()
        .map_err(Failure::because("cannot start"))?;
    let outcome = runtime.block_on(run_daemon(args, settings, ready));
    runtime.shutdown_background();
    outcome
}

/// The lock of the data folder, held while the daemon lives; `None` where another one holds it. A daemon that was just killed
/// may hold it for a moment yet, as may a shim that it was about to start: hence the patience.
pub(crate) fn lock(path: &Path) -> Result<Option<Flock<File>>, Failure> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(Failure::because(format!("cannot open {}", path.display())))?;
    let (locked, answer) = std::sync::mpsc::channel();
    // Not joined: where the lock is not to be had, the process ends, and this thread with it.
    std::thread::spawn(move || {
        locked.send(Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno))
    });
    match answer.recv_timeout(LOCK_PATIENCE) {
        Ok(Ok(lock)) => Ok(Some(lock)),
        Ok(Err(errno)) => Err(Failure::new(format!(
            "cannot lock {}: {errno}",
            path.display()
        ))),
        Err(_) => Ok(None),
    }
}

async fn run_daemon(args: &Args, settings: Settings, ready: &mut Option<File>) -> Outcome {
    let layout = settings.layout.clone();
    let (store, place) = open_store(&settings).await?;
    let shim_binary = own_binary()?;
    let tls = tls(args, &layout)?;
    let tcp = match args.listen {
        Some(address) => Some(
            Tcp::bind(address, tls.clone(), args.insecure)
                .await
                .map_err(Failure::because(format!("cannot listen at {address}")))?,
        ),
        None => None,
    };
    let listen = tcp.as_ref().map(Tcp::address).transpose();
    let listen = listen.map_err(Failure::because("cannot listen"))?;
    let config = dauer_engine::Config {
        layout: layout.clone(),
        member: member::of(&settings, listen.clone())?,
        guest_binary: guest_binary(&shim_binary)?,
        shim_binary,
        keep: keep(&settings)?,
        pack_after: duration(settings.pack_after.as_deref().unwrap_or(PACK_AFTER))?,
        cache: cache_room::capacity(&settings)?,
        usage_keep: (args.usage_keep > 0).then(|| Duration::from_millis(args.usage_keep)),
        limits: dauer_engine::limits(&settings.room),
        paused: args.paused,
        pause_after_crashes: args
            .pause_after_crashes
            .or(settings.pause_after_crashes)
            .unwrap_or(0),
        default_driver: settings.driver.filter(|driver| driver != "auto"),
    };
    let mut terminate =
        signal(SignalKind::terminate()).map_err(Failure::because("cannot catch signals"))?;
    let mut hangup =
        signal(SignalKind::hangup()).map_err(Failure::because("cannot catch signals"))?;
    let mut interrupt =
        signal(SignalKind::interrupt()).map_err(Failure::because("cannot catch signals"))?;
    let engine = Engine::start(config, store, Arc::new(Runtime))
        .await
        .map_err(Failure::because("cannot start the engine"))?;
    let listener = Listener::bind(&layout.socket())
        .await
        .map_err(Failure::because(format!(
            "cannot listen at {}",
            layout.socket().display()
        )))?;
    let pid_file = layout.run.join("dauer.pid");
    std::fs::write(&pid_file, format!("{}\n", std::process::id())).map_err(Failure::because(
        format!("cannot write {}", pid_file.display()),
    ))?;
    tracing::info!(socket = %layout.socket().display(), listen, "ready");
    say(ready, READY);
    let about = About {
        version: env!("CARGO_PKG_VERSION").into(),
        data_dir: layout.data,
        run_dir: layout.run,
        listen,
        store: place,
    };
    let serving = Serving {
        unix: listener,
        tcp,
        rate_per_second: NonZeroU32::new(args.rate),
    };
    let mut fenced = None;
    let ended = async {
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => reload(tls.as_deref()),
                why = engine.fenced() => {
                    fenced = Some(why);
                    return;
                }
            }
        }
        tracing::info!("ending; jobs live on");
    };
    dauer_server::serve(serving, engine.clone(), about, ended).await;
    if fenced.is_none() {
        engine.shutdown().await;
    }
    // A leftover says a wrong number, which nobody trusts without looking.
    let _ = std::fs::remove_file(&pid_file);
    match fenced {
        Some(why) => Err(Failure::Coded(format!("fenced: {why}"), FENCED)),
        None => Ok(0),
    }
}

/// The store that was asked for, else the file of the data folder, which nobody else opens; and what it is called.
async fn open_store(settings: &Settings) -> Result<(Arc<dyn Store>, String), Failure> {
    let Some(url) = &settings.store else {
        let file = settings.layout.database();
        let store = Sqlite::open(&file)
            .map_err(Failure::because(format!("cannot open {}", file.display())))?;
        return Ok((Arc::new(store), format!("sqlite:{}", file.display())));
    };
    let store = dauer_store::open(url)
        .await
        .map_err(Failure::because("cannot use the store"))?;
    if let Some(loss) = store.capabilities().loss() {
        tracing::warn!("{loss}");
    }
    Ok((store, dauer_store::shown(url)))
}

fn is_duration(text: &str) -> Result<String, String> {
    dauer_core::parse::duration_ms(text).map(|_| text.to_owned())
}

/// `None` for 0.
fn duration(text: &str) -> Result<Option<Duration>, Failure> {
    let ms = dauer_core::parse::duration_ms(text).map_err(Failure::new)?;
    Ok((ms > 0).then(|| Duration::from_millis(ms)))
}

/// How long history and jobs are kept.
fn keep(settings: &Settings) -> Result<Keep, Failure> {
    let history = settings.history_keep.as_deref().unwrap_or(HISTORY_KEEP);
    let jobs = settings.jobs_keep.as_deref();
    Ok(Keep {
        history: duration(history)?,
        jobs: jobs.map(duration).transpose()?.flatten(),
    })
}

/// What connections of the network are encrypted with, if that is asked for.
fn tls(args: &Args, layout: &Layout) -> Result<Option<Arc<Tls>>, Failure> {
    let tls = match (&args.tls_cert, &args.tls_key, args.listen) {
        (Some(certificate), Some(key), _) => Tls::from_files(certificate.clone(), key.clone()),
        (_, _, Some(address)) if args.tls_self_signed => {
            Tls::self_signed(&layout.data.join("tls"), address.ip())
        }
        (_, _, _) => return Ok(None),
    };
    let tls = tls.map_err(Failure::because("cannot use the certificate"))?;
    Ok(Some(Arc::new(tls)))
}

fn reload(tls: Option<&Tls>) {
    let Some(tls) = tls else { return };
    match tls.reload() {
        Ok(()) => {
            tracing::info!(certificate = %tls.certificate().display(), "read the certificate again")
        }
        Err(error) => tracing::error!(%error, "the certificate stays as it was"),
    }
}

/// Takes as many descriptors as are allowed; shims give them back, so that no job has more than it would without Dauer.
fn allow_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let Ok((soft, hard)) = getrlimit(Resource::RLIMIT_NOFILE) else {
        return;
    };
    let wanted = hard.min(OPEN_FILES_MAX);
    if wanted > soft && setrlimit(Resource::RLIMIT_NOFILE, wanted, hard).is_ok() {
        // SAFETY: no other thread runs yet.
        unsafe { std::env::set_var(dauer_sandbox::OPEN_FILES_VARIABLE, soft.to_string()) };
    }
}

fn own_binary() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(Failure::because("cannot find the dauer binary"))
}

/// `dauer-guest` beside this binary, or what `DAUER_GUEST` says.
fn guest_binary(own: &Path) -> Result<PathBuf, Failure> {
    let named = std::env::var_os("DAUER_GUEST").map(PathBuf::from);
    let path = named.unwrap_or_else(|| own.with_file_name("dauer-guest"));
    let path = std::path::absolute(path).map_err(Failure::because("not a path: DAUER_GUEST"))?;
    if path.is_file() {
        return Ok(path);
    }
    Err(Failure::new(format!(
        "there is no guest agent at {}: install dauer-guest beside dauer, or set DAUER_GUEST to its path",
        path.display()
    )))
}

fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("DAUER_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
