//! A sandbox of Linux namespaces with the real agent as pid 1, and the shim's side of the channel.
//!
//! Messages are waited for, never slept for; a whole test has [`LIMIT`] before its sandbox is ended, which fails it.

#![allow(dead_code, reason = "each test file uses its part")]

use dauer_wire::frame::Frame;
use dauer_wire::guest::{
    ApiRequest, ApiResponse, Command, ExitStatus, FromGuest, Quiesced, Resume, Start, StartFailure,
};
use dauer_wire::guest::{PROTOCOL, Stream, ToGuest};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How long a test may take.
const LIMIT: Duration = Duration::from_secs(40);

/// The sandbox and the shim's ends.
pub(crate) struct Inside {
    to_guest: Option<ChildStdin>,
    from_guest: ChildStdout,
    stdout: Option<JoinHandle<Vec<u8>>>,
    process: Child,
    /// Frames that were read while another was awaited.
    passed: VecDeque<FromGuest>,
    watch: Arc<(Mutex<bool>, Condvar)>,
}

/// What a shell line is as a command.
pub(crate) fn sh(line: &str) -> Command {
    command(&["/bin/sh", "-c", line])
}

pub(crate) fn command(argv: &[&str]) -> Command {
    Command {
        argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        env: path(),
        ..Command::default()
    }
}

/// The tests' own PATH, so that interpreters are found wherever this machine has them.
fn path() -> BTreeMap<String, String> {
    std::env::var("PATH")
        .map(|path| ("PATH".to_owned(), path))
        .into_iter()
        .collect()
}

/// An answer in JSON.
pub(crate) fn answer(status: u16, body: &str) -> ApiResponse {
    let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
    ApiResponse {
        status,
        headers,
        body: body.into(),
    }
}

pub(crate) const fn code(code: i32) -> ExitStatus {
    ExitStatus {
        code: Some(code),
        signal: None,
    }
}

pub(crate) const fn signal(signal: i32) -> ExitStatus {
    ExitStatus {
        code: None,
        signal: Some(signal),
    }
}

/// A pipe or a program that a test needs and this machine may lack.
pub(crate) fn has(program: &str) -> bool {
    std::process::Command::new(program)
        .arg("--version")
        .output()
        .is_ok_and(|output| output.status.success())
}

impl Inside {
    /// A fresh agent that has said hello.
    pub(crate) fn boot() -> Self {
        Self::boot_in("--net")
    }

    /// The network namespace is the host's.
    pub(crate) fn boot_in_shared_network() -> Self {
        Self::boot_in("--uts")
    }

    fn boot_in(namespace: &str) -> Self {
        let (stdout, stdout_in) = io::pipe().unwrap();
        let mut unshare = std::process::Command::new("unshare");
        // SAFETY: always sound.
        if unsafe { libc::geteuid() } != 0 {
            unshare.arg("-Ur");
        }
        unshare.args([
            "--pid",
            "--mount-proc",
            "--fork",
            "--kill-child",
            namespace,
            env!("CARGO_BIN_EXE_dauer-guest"),
            "init",
        ]);
        unshare
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stdout_in);
        let mut process = unshare.spawn().expect("unshare runs");
        drop(unshare);
        let mut inside = Self {
            to_guest: process.stdin.take(),
            from_guest: process.stdout.take().unwrap(),
            stdout: Some(read_all(stdout)),
            watch: limit(process.id()),
            process,
            passed: VecDeque::new(),
        };
        assert_eq!(inside.next(), Some(FromGuest::Hello(PROTOCOL)));
        inside
    }

    /// A job that runs.
    pub(crate) fn run(command: Command) -> Self {
        let mut inside = Self::boot();
        inside.start(command);
        inside
    }

    pub(crate) fn start(&mut self, command: Command) -> i32 {
        self.say_start(command, false);
        self.started(0)
    }

    pub(crate) fn say_start(&mut self, command: Command, shared_network: bool) {
        self.say(ToGuest::Start(Start {
            job: "job-1".into(),
            generation: 1,
            shared_network,
            command,
        }));
    }

    pub(crate) fn exec(&mut self, session: u64, command: Command) -> i32 {
        self.say(ToGuest::Exec { session, command });
        self.started(session)
    }

    pub(crate) fn say(&mut self, message: ToGuest) {
        let to_guest = self.to_guest.as_mut().expect("the channel is open");
        message
            .into_frame()
            .write_to(to_guest)
            .expect("the agent reads");
    }

    /// The shim dies.
    pub(crate) fn hang_up(&mut self) {
        self.to_guest = None;
    }

    pub(crate) fn next(&mut self) -> Option<FromGuest> {
        Frame::read_from(&mut self.from_guest)
            .unwrap()
            .map(|frame| FromGuest::from_frame(frame).unwrap())
    }

    /// The first message, read before or yet to come, that `pick` takes. Others keep their order.
    pub(crate) fn wait<T>(&mut self, mut pick: impl FnMut(&FromGuest) -> Option<T>) -> T {
        for index in 0..self.passed.len() {
            if let Some(picked) = pick(&self.passed[index]) {
                self.passed.remove(index);
                return picked;
            }
        }
        loop {
            let Some(message) = self.next() else {
                panic!("the channel ended; before: {:?}", self.passed)
            };
            if let Some(picked) = pick(&message) {
                return picked;
            }
            self.passed.push_back(message);
        }
    }

    pub(crate) fn started(&mut self, session: u64) -> i32 {
        let result = self.wait(|message| match message {
            FromGuest::Started { session: of, pid } if *of == session => Some(Ok(*pid)),
            FromGuest::StartFailed {
                session: of,
                failure,
            } if *of == session => Some(Err(failure.clone())),
            _ => None,
        });
        result.expect("the program starts")
    }

    pub(crate) fn start_failure(&mut self, session: u64) -> StartFailure {
        self.wait(|message| match message {
            FromGuest::StartFailed {
                session: of,
                failure,
            } if *of == session => Some(failure.clone()),
            FromGuest::Started { session: of, .. } if *of == session => panic!("it started"),
            _ => None,
        })
    }

    pub(crate) fn exited(&mut self, session: u64) -> ExitStatus {
        self.wait(|message| match message {
            FromGuest::Exited {
                session: of,
                status,
            } if *of == session => Some(*status),
            _ => None,
        })
    }

    pub(crate) fn request(&mut self) -> (u64, ApiRequest) {
        self.wait(|message| match message {
            FromGuest::Request { id, request } => Some((*id, request.clone())),
            _ => None,
        })
    }

    pub(crate) fn respond(&mut self, id: u64, response: ApiResponse) {
        self.say(ToGuest::Response { id, response });
    }

    /// Answers every request until the job ends.
    pub(crate) fn serve(
        &mut self,
        mut respond: impl FnMut(&ApiRequest) -> ApiResponse,
    ) -> ExitStatus {
        loop {
            let message = self.wait(|message| match message {
                FromGuest::Request { .. } | FromGuest::Exited { session: 0, .. } => {
                    Some(message.clone())
                }
                _ => None,
            });
            match message {
                FromGuest::Request { id, request } => self.respond(id, respond(&request)),
                FromGuest::Exited { status, .. } => return status,
                _ => unreachable!("not picked"),
            }
        }
    }

    /// Reads a session's output, reporting it as consumed, until it contains `text`.
    pub(crate) fn output_until(&mut self, session: u64, text: &str) -> String {
        let mut output = Vec::new();
        while !String::from_utf8_lossy(&output).contains(text) {
            let bytes = self.wait(|message| match message {
                FromGuest::Output {
                    session: of, bytes, ..
                } if *of == session => Some(bytes.clone()),
                FromGuest::Exited { session: of, .. } if *of == session => {
                    panic!("no {text:?} in {:?}", String::from_utf8_lossy(&output))
                }
                _ => None,
            });
            self.say(ToGuest::Consumed {
                session,
                bytes: bytes.len() as u32,
            });
            output.extend(bytes);
        }
        String::from_utf8_lossy(&output).into_owned()
    }

    /// Reads a session to its end, reporting output as consumed.
    pub(crate) fn output_to_end(&mut self, session: u64) -> (BTreeMap<u8, Vec<u8>>, ExitStatus) {
        let mut outputs = BTreeMap::<u8, Vec<u8>>::new();
        loop {
            let message = self.wait(|message| match message {
                FromGuest::Output { session: of, .. } | FromGuest::Exited { session: of, .. }
                    if *of == session =>
                {
                    Some(message.clone())
                }
                _ => None,
            });
            match message {
                FromGuest::Output { stream, bytes, .. } => {
                    if session != 0 {
                        self.say(ToGuest::Consumed {
                            session,
                            bytes: bytes.len() as u32,
                        });
                    }
                    outputs.entry(stream as u8).or_default().extend(bytes);
                }
                FromGuest::Exited { status, .. } => return (outputs, status),
                _ => unreachable!("not picked"),
            }
        }
    }

    pub(crate) fn quiesce(&mut self) -> Quiesced {
        self.say(ToGuest::Quiesce);
        self.wait(|message| match message {
            FromGuest::Quiesced(quiesced) => Some(quiesced.clone()),
            _ => None,
        })
    }

    pub(crate) fn resume(&mut self, generation: u32) {
        self.say(ToGuest::Resume(Resume {
            generation,
            wall_clock_ms: 0,
            entropy: String::new(),
            job: None,
            host_name: None,
        }));
    }

    /// After the last frame: nothing follows, the agent ends, and this is the job's standard output.
    pub(crate) fn end(mut self) -> String {
        assert_eq!(self.next(), None, "Exited is the last frame");
        assert!(
            self.passed
                .iter()
                .all(|message| !matches!(message, FromGuest::Request { .. })),
            "{:?}",
            self.passed
        );
        self.process.wait().unwrap();
        String::from_utf8_lossy(&self.stdout.take().unwrap().join().unwrap()).into_owned()
    }

    /// Nothing of this session was read and not picked.
    pub(crate) fn assert_silent(&self, session: u64) {
        let is_of_it = |message: &&FromGuest| match message {
            FromGuest::Output { session: of, .. } | FromGuest::Exited { session: of, .. } => {
                *of == session
            }
            _ => false,
        };
        assert_eq!(self.passed.iter().find(is_of_it), None);
    }

    pub(crate) fn assert_no_request(&self) {
        let is_request = |message: &&FromGuest| matches!(message, FromGuest::Request { .. });
        assert_eq!(self.passed.iter().find(is_request), None);
    }

    /// The exit code of the sandbox.
    pub(crate) fn wait_for_sandbox(&mut self) -> Option<i32> {
        self.process.wait().unwrap().code()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        *self.watch.0.lock().unwrap() = true;
        self.watch.1.notify_all();
        // It has ended in most tests.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The bytes of one stream as text.
pub(crate) fn text(outputs: &BTreeMap<u8, Vec<u8>>, stream: Stream) -> String {
    String::from_utf8_lossy(
        outputs
            .get(&(stream as u8))
            .map(Vec::as_slice)
            .unwrap_or_default(),
    )
    .into_owned()
}

fn read_all(mut reader: io::PipeReader) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        reader.read_to_end(&mut bytes).unwrap();
        bytes
    })
}

/// Ends a sandbox that takes too long, so that the test fails instead of hanging.
fn limit(pid: u32) -> Arc<(Mutex<bool>, Condvar)> {
    let watch = Arc::new((Mutex::new(false), Condvar::new()));
    let watched = watch.clone();
    thread::spawn(move || {
        let done = watched.0.lock().unwrap();
        let (done, _) = watched
            .1
            .wait_timeout_while(done, LIMIT, |done| !*done)
            .unwrap();
        if !*done {
            // SAFETY: our own child, not collected before `done`.
            unsafe {
                libc::kill(pid as i32, libc::SIGKILL);
            }
        }
    });
    watch
}

/// A scratch folder that both sides see.
pub(crate) fn scratch(name: &str) -> std::path::PathBuf {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes a file that is executable.
pub(crate) fn write_program(path: &std::path::Path, content: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let mut file = File::create(path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    file.set_permissions(std::fs::Permissions::from_mode(mode))
        .unwrap();
}
