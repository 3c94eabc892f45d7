//! A node in a folder of its own, and a job in it.

use dauer_core::{CheckpointId, Image, Network, SandboxId};
use dauer_sandbox::protocol::{ExitRecord, Phase};
use dauer_sandbox::{Layout, Link, LinkEvent, LinkEvents, Node, Origin, SandboxSpec, driver};
use dauer_wire::frame::Frame;
use dauer_wire::guest::ApiRequest;
use dauer_wire::http::{Marker, stream_kind};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Nothing here takes that long, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) struct Fixture {
    pub(crate) node: Node,
    pub(crate) driver: String,
    folder: Option<tempfile::TempDir>,
    launched: std::cell::RefCell<Vec<(SandboxId, u32)>>,
}

/// Runs a test with every driver that works here; with `checkpoints`, only with those that freeze memory.
pub(crate) fn with_each_driver(checkpoints: bool, test: impl AsyncFn(&Fixture)) {
    let probe = tempfile::Builder::new()
        .prefix("dauer-probe-")
        .tempdir_in("/var/tmp")
        .unwrap();
    let views = driver::probe::all(&layout(probe.path()));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    for view in views {
        if !view.missing.is_empty() {
            println!("skipped: driver {}: {}", view.name, view.missing.join("; "));
        }
        if !view.usable || (checkpoints && !view.checkpoints) {
            continue;
        }
        println!("driver {}", view.name);
        let fixture = Fixture::new(&view.name);
        runtime.block_on(async {
            test(&fixture).await;
            fixture.clean_up().await;
        });
    }
}

fn layout(folder: &std::path::Path) -> Layout {
    Layout {
        data: folder.join("data"),
        run: folder.join("run"),
    }
}

fn guest() -> PathBuf {
    let beside = PathBuf::from(env!("CARGO_BIN_EXE_dauer-shim")).with_file_name("dauer-guest");
    let guest = std::env::var_os("DAUER_GUEST").map_or(beside, PathBuf::from);
    assert!(
        guest.exists(),
        "{} is missing: run scripts/build",
        guest.display()
    );
    guest
}

impl Fixture {
    fn new(driver: &str) -> Self {
        Self::new_in("/var/tmp", driver)
    }

    /// In another place than `/var/tmp`.
    pub(crate) fn new_in(place: &str, driver: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("dauer-test-")
            .tempdir_in(place)
            .unwrap();
        let layout = layout(folder.path());
        for path in [&layout.data, &layout.run] {
            std::fs::create_dir_all(path).unwrap();
        }
        let node = Node::new(
            layout,
            PathBuf::from(env!("CARGO_BIN_EXE_dauer-shim")),
            guest(),
        );
        Self {
            node,
            driver: driver.to_owned(),
            folder: Some(folder),
            launched: std::cell::RefCell::default(),
        }
    }

    pub(crate) fn spec(&self, argv: &[&str]) -> SandboxSpec {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = SandboxId(format!("{:08x}{count:08x}", std::process::id()));
        SandboxSpec {
            id,
            generation: 1,
            origin: Origin::Fresh,
            job: "0190-test".into(),
            host_name: dauer_sandbox::HOST_NAME.to_owned(),
            driver: self.driver.clone(),
            image: Image::Host,
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env: BTreeMap::from([("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into())]),
            workdir: None,
            user: None,
            tty: false,
            stdin: false,
            mounts: Vec::new(),
            inject: None,
            cpu_millis: None,
            memory_bytes: None,
            network: Network::None,
            publish: Vec::new(),
            keep_disk: None,
            layout: self.node.layout().clone(),
            guest_binary: self.node.guest_binary().to_owned(),
        }
    }

    pub(crate) fn shell(&self, script: &str) -> SandboxSpec {
        self.spec(&["/bin/sh", "-c", script])
    }

    pub(crate) async fn launch(&self, spec: &SandboxSpec) -> Running {
        self.launched
            .borrow_mut()
            .push((spec.id.clone(), spec.generation));
        let (link, events) = patient(self.node.launch(spec.clone())).await.unwrap();
        Running {
            link,
            events,
            requests: Vec::new(),
        }
    }

    /// Everything the job wrote, by stream, without markers.
    pub(crate) async fn output(&self, spec: &SandboxSpec, stream: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        for frame in self.frames(spec).await {
            if frame.kind == stream_kind::OUTPUT && frame.payload[8] == stream {
                bytes.extend_from_slice(&frame.payload[9..]);
            }
        }
        bytes
    }

    pub(crate) async fn text(&self, spec: &SandboxSpec) -> String {
        String::from_utf8(self.output(spec, 1).await).unwrap()
    }

    pub(crate) async fn markers(&self, spec: &SandboxSpec) -> Vec<Marker> {
        let frames = self.frames(spec).await;
        frames
            .iter()
            .filter(|frame| frame.kind == stream_kind::MARKER)
            .map(|frame| frame.parse().unwrap())
            .collect()
    }

    pub(crate) async fn frames(&self, spec: &SandboxSpec) -> Vec<Frame> {
        let mut tail = self.node.log(&spec.id, 0).await.unwrap();
        let mut frames = Vec::new();
        while let Some(bytes) = tail.next().await.unwrap() {
            let mut reader = bytes.as_ref();
            while let Some(frame) = Frame::read_from(&mut reader).unwrap() {
                frames.push(frame);
            }
        }
        frames
    }

    /// Waits until the job has written this, without asking again and again.
    pub(crate) async fn wait_for_text(&self, spec: &SandboxSpec, wanted: &str) {
        let mut tail = self.node.log(&spec.id, 0).await.unwrap();
        let mut text = String::new();
        patient(async {
            loop {
                match tail.next().await.unwrap() {
                    Some(bytes) => {
                        let mut reader = bytes.as_ref();
                        while let Some(frame) = Frame::read_from(&mut reader).unwrap() {
                            if frame.kind == stream_kind::OUTPUT {
                                text.push_str(&String::from_utf8_lossy(&frame.payload[9..]));
                            }
                        }
                        if text.contains(wanted) {
                            return;
                        }
                    }
                    None => tail.changed().await.unwrap(),
                }
            }
        })
        .await;
    }

    /// The incarnation after this one, out of a checkpoint.
    pub(crate) fn next(
        &self,
        spec: &SandboxSpec,
        checkpoint: &CheckpointId,
        after_loss: bool,
    ) -> SandboxSpec {
        SandboxSpec {
            generation: spec.generation + 1,
            origin: Origin::Checkpoint {
                checkpoint: checkpoint.clone(),
                after_loss,
            },
            ..spec.clone()
        }
    }

    pub(crate) async fn destroy(&self, spec: &SandboxSpec) {
        patient(self.node.destroy(&spec.id, spec.generation, &self.driver))
            .await
            .unwrap();
    }

    pub(crate) async fn clean_up(&self) {
        let launched = self.launched.take();
        for (id, generation) in &launched {
            patient(self.node.destroy(id, *generation, &self.driver))
                .await
                .unwrap();
        }
        for (id, generation) in &launched {
            let left = left_of(&id.instance(*generation));
            assert!(left.is_empty(), "left of {id}: {left:?}");
            self.node.remove(id).await.unwrap();
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(folder) = self.folder.take()
        {
            eprintln!("kept: {}", folder.keep().display());
        }
    }
}

/// Processes, mounts and cgroups that carry this name.
pub(crate) fn left_of(instance: &str) -> Vec<String> {
    let mut left = Vec::new();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let own = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok());
        let Some(pid) = own.filter(|pid| *pid != std::process::id()) else {
            continue;
        };
        for file in ["cmdline", "environ"] {
            let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            if bytes
                .windows(instance.len())
                .any(|part| part == instance.as_bytes())
            {
                left.push(format!(
                    "process {pid}: {}",
                    String::from_utf8_lossy(&bytes).replace('\0', " ")
                ));
            }
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    left.extend(
        mounts
            .lines()
            .filter(|line| line.contains(instance))
            .map(str::to_owned),
    );
    for hierarchy in std::fs::read_dir("/sys/fs/cgroup")
        .into_iter()
        .flatten()
        .flatten()
    {
        find(&hierarchy.path(), instance, 3, &mut left);
    }
    left
}

fn find(folder: &std::path::Path, name: &str, depth: u32, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().contains(name) {
            found.push(entry.path().display().to_string());
        } else if depth > 0 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            find(&entry.path(), name, depth - 1, found);
        }
    }
}

pub(crate) async fn patient<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .expect("it takes too long")
}

/// A connection to a shim.
pub(crate) struct Running {
    pub(crate) link: Link,
    pub(crate) events: LinkEvents,
    pub(crate) requests: Vec<(u64, ApiRequest)>,
}

impl Running {
    /// The next phase for which this says yes.
    pub(crate) async fn until(&mut self, wanted: impl Fn(&Phase) -> bool) -> Phase {
        patient(async {
            loop {
                match self.events.recv().await {
                    LinkEvent::State { phase, .. } if wanted(&phase) => return phase,
                    LinkEvent::State {
                        phase: phase @ Phase::Ended { .. },
                        ..
                    } => panic!("{phase:?}"),
                    LinkEvent::State { .. } => {}
                    LinkEvent::Request { id, request } => self.requests.push((id, request)),
                    LinkEvent::Closed => panic!("the shim is gone"),
                }
            }
        })
        .await
    }

    pub(crate) async fn running(&mut self) {
        self.until(|phase| *phase == Phase::Running).await;
    }

    /// How it ended, once the shim is gone too.
    pub(crate) async fn ended(&mut self) -> ExitRecord {
        let phase = self
            .until(|phase| matches!(phase, Phase::Ended { .. }))
            .await;
        self.closed().await;
        match phase {
            Phase::Ended { exit } => exit,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn closed(&mut self) {
        patient(async { while self.events.recv().await != LinkEvent::Closed {} }).await;
    }

    /// Pids of shim and sandbox.
    pub(crate) async fn pids(&mut self) -> (i32, i32) {
        patient(async {
            loop {
                if let LinkEvent::State {
                    phase: Phase::Running,
                    shim_pid,
                    sandbox_pid: Some(sandbox_pid),
                    ..
                } = self.events.recv().await
                {
                    return (shim_pid, sandbox_pid);
                }
            }
        })
        .await
    }

    /// The next request of the job.
    pub(crate) async fn request(&mut self) -> (u64, ApiRequest) {
        patient(async {
            loop {
                if let LinkEvent::Request { id, request } = self.events.recv().await {
                    return (id, request);
                }
            }
        })
        .await
    }
}

/// The status of a job that ended by itself.
pub(crate) fn code(record: &ExitRecord) -> Option<i32> {
    match record {
        ExitRecord::Exited { status, .. } => status.code,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn checkpoint_id() -> CheckpointId {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    CheckpointId(format!(
        "{:016x}",
        COUNT.fetch_add(1, Ordering::Relaxed) + 1
    ))
}
