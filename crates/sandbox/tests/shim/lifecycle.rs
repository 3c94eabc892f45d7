//! From the start to the end.

use crate::fixture::{Running, code, left_of, patient, with_each_driver};
use dauer_core::CheckpointId;
use dauer_sandbox::protocol::{ExitRecord, Phase};
use dauer_sandbox::{LinkEvent, Observed};

#[test]
fn the_exit_status_is_the_programs_own() {
    with_each_driver(false, async |fixture| {
        for (script, wanted) in [
            ("exit 0", (Some(0), None)),
            ("exit 7", (Some(7), None)),
            ("kill -9 $$", (None, Some(9))),
        ] {
            let spec = fixture.shell(script);
            let mut job = fixture.launch(&spec).await;
            let record = job.ended().await;
            let ExitRecord::Exited {
                status,
                out_of_memory: false,
                ..
            } = &record
            else {
                panic!("{record:?}")
            };
            assert_eq!((status.code, status.signal), wanted, "{script}");
            assert_eq!(
                fixture.node.observe(&spec.id, 1).await.unwrap(),
                Observed::Ended(record)
            );
        }
    });
}

#[test]
fn a_program_that_is_not_there_is_told_as_shells_tell_it() {
    with_each_driver(false, async |fixture| {
        for (program, wanted) in [("/no/such/program", 127), ("/etc/passwd", 126)] {
            let mut job = fixture.launch(&fixture.spec(&[program])).await;
            let record = job.ended().await;
            let ExitRecord::StartFailed { failure, .. } = record else {
                panic!("{record:?}")
            };
            assert_eq!(failure.code, wanted, "{}", failure.message);
            assert!(failure.message.contains(program), "{}", failure.message);
        }
    });
}

#[test]
fn an_image_that_is_not_there_fails_the_start_with_its_name() {
    with_each_driver(false, async |fixture| {
        let mut spec = fixture.spec(&["/bin/true"]);
        spec.image = dauer_core::Image::Directory("/no/such/image".into());
        let record = fixture.launch(&spec).await.ended().await;
        let ExitRecord::StartFailed { failure, .. } = record else {
            panic!("{record:?}")
        };
        assert!(
            failure.message.contains("/no/such/image"),
            "{}",
            failure.message
        );
        assert_eq!(failure.code, 125);
    });
}

#[test]
fn a_shim_that_is_killed_takes_everything_with_it() {
    with_each_driver(false, async |fixture| {
        let spec = fixture.shell("sleep 1000 & sleep 1000");
        let mut job = fixture.launch(&spec).await;
        let (shim, sandbox) = job.pids().await;
        kill(shim);
        job.closed().await;
        assert_eq!(
            fixture.node.observe(&spec.id, 1).await.unwrap(),
            Observed::Gone
        );
        fixture.destroy(&spec).await;
        assert!(!alive(sandbox), "{}", fixture.driver);
        assert_eq!(left_of(&spec.id.instance(1)), Vec::<String>::new());
        // Once more changes nothing.
        fixture.destroy(&spec).await;
    });
}

#[test]
fn a_sandbox_that_is_killed_is_lost_and_its_output_is_kept() {
    with_each_driver(false, async |fixture| {
        let spec = fixture.shell("echo before; echo more; exec sleep 1000");
        let mut job = fixture.launch(&spec).await;
        let (_, sandbox) = job.pids().await;
        fixture.wait_for_text(&spec, "more").await;
        kill(sandbox);
        let record = job.ended().await;
        assert!(
            matches!(
                record,
                ExitRecord::Lost {
                    out_of_memory: false,
                    ..
                }
            ),
            "{record:?}"
        );
        assert_eq!(fixture.text(&spec).await, "before\nmore\n");
    });
}

#[test]
fn destroying_kills_at_once_and_records_it() {
    with_each_driver(false, async |fixture| {
        let spec = fixture.shell("trap '' TERM; while :; do sleep 1; done");
        let mut job = fixture.launch(&spec).await;
        job.running().await;
        patient(job.link.destroy()).await.unwrap();
        let record = job.ended().await;
        let ExitRecord::Exited { status, .. } = &record else {
            panic!("{record:?}")
        };
        assert_eq!(status.signal, Some(9));
        assert!(
            job.link.signal(15, false).await.is_err(),
            "the shim is gone"
        );
        assert_eq!(left_of(&spec.id.instance(1)), Vec::<String>::new());
    });
}

#[test]
fn signals_reach_the_job() {
    with_each_driver(false, async |fixture| {
        let spec = fixture
            .shell("trap 'echo got it; exit 3' TERM; echo ready; while :; do sleep 0.05; done");
        let mut job = fixture.launch(&spec).await;
        fixture.wait_for_text(&spec, "ready").await;
        patient(job.link.signal(15, false)).await.unwrap();
        assert_eq!(code(&job.ended().await), Some(3));
        assert_eq!(fixture.text(&spec).await, "ready\ngot it\n");
        assert!(matches!(
            job.link.signal(999, false).await,
            Err(dauer_sandbox::Error::Gone)
        ));
    });
}

#[test]
fn the_next_daemon_finds_everything_as_it_is() {
    with_each_driver(false, async |fixture| {
        let spec = fixture.shell("echo one; read line < /tmp/fifo; echo two; exit 5");
        let spec = dauer_sandbox::SandboxSpec {
            argv: vec![
                "/bin/sh".into(),
                "-c".into(),
                format!(
                    "mkfifo /tmp/fifo-{0}; {1}",
                    spec.id,
                    spec.argv[2].replace("/tmp/fifo", &format!("/tmp/fifo-{}", spec.id))
                ),
            ],
            ..spec
        };
        let mut first = fixture.launch(&spec).await;
        first.running().await;
        fixture.wait_for_text(&spec, "one").await;
        let (link, events) = fixture
            .node
            .connect(&spec.id, 1)
            .await
            .unwrap()
            .expect("a shim listens");
        let mut second = Running {
            link,
            events,
            requests: Vec::new(),
        };
        // The newer connection takes over.
        first.closed().await;
        assert!(matches!(
            patient(second.events.recv()).await,
            LinkEvent::State {
                phase: Phase::Running,
                ..
            }
        ));
        assert_eq!(
            fixture.node.observe(&spec.id, 1).await.unwrap(),
            Observed::Alive
        );
        let command = dauer_wire::guest::Command {
            argv: vec![
                "/bin/sh".into(),
                "-c".into(),
                format!("echo > /tmp/fifo-{}", spec.id),
            ],
            ..Default::default()
        };
        let _session = patient(second.link.exec(command)).await.unwrap();
        assert_eq!(code(&second.ended().await), Some(5));
        assert_eq!(fixture.text(&spec).await, "one\ntwo\n");
    });
}

#[test]
fn a_job_that_ends_while_no_daemon_is_there_has_its_record() {
    with_each_driver(false, async |fixture| {
        let spec = fixture.shell("echo out; echo err >&2; exit 9");
        drop(fixture.launch(&spec).await);
        // Connected again as long as a shim is there, only to know when it is not.
        while let Some((link, events)) = fixture.node.connect(&spec.id, 1).await.unwrap() {
            Running {
                link,
                events,
                requests: Vec::new(),
            }
            .closed()
            .await;
        }
        let observed = fixture.node.observe(&spec.id, 1).await.unwrap();
        let Observed::Ended(record) = observed else {
            panic!("{observed:?}")
        };
        assert_eq!(code(&record), Some(9));
        assert_eq!(fixture.text(&spec).await, "out\n");
        assert_eq!(fixture.output(&spec, 2).await, b"err\n");
    });
}

fn kill(pid: i32) {
    // SAFETY: a process of this test.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGKILL) }, 0);
}

fn alive(pid: i32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

#[test]
fn what_a_program_leaves_that_ends_well_is_kept_before_its_end_is_told() {
    with_each_driver(false, async |fixture| {
        let id = CheckpointId("0123456789abcdef".into());
        let mut spec = fixture.shell(
            "mkdir -p /var/tmp/kept/a && head -c 3000000 /dev/zero | tr '\\0' x > /var/tmp/kept/a/large; ln -s a /var/tmp/kept/b",
        );
        spec.keep_disk = Some(id.clone());
        let record = fixture.launch(&spec).await.ended().await;
        let ExitRecord::Exited { status, unkept, .. } = &record else {
            panic!("{record:?}")
        };
        assert_eq!((status.code, unkept), (Some(0), &None));
        let checkpoint = fixture.node.published(&id).await.unwrap().unwrap();
        assert_eq!(checkpoint.memory_bytes, 0);
        assert!(checkpoint.disk_bytes >= 3_000_000, "{checkpoint:?}");
        let folder = fixture.node.layout().snapshot(&id);
        let manifest = dauer_sandbox::snapshot::read(fixture.node.layout(), &id)
            .unwrap()
            .unwrap();
        manifest.verify(&folder).unwrap();
        let changes = fixture.node.snapshot_changes(&id).await.unwrap();
        let paths: Vec<_> = changes.iter().map(|change| change.path.as_str()).collect();
        for path in ["/var/tmp/kept/a/large", "/var/tmp/kept/b"] {
            assert!(paths.contains(&path), "{path} is not in {paths:?}");
        }
        fixture.node.remove_snapshot(&id).await.unwrap();
    });
}

#[test]
fn nothing_is_kept_of_a_program_that_fails_or_is_killed() {
    with_each_driver(false, async |fixture| {
        let id = CheckpointId("0123456789abcdef".into());
        for script in ["echo x > /var/tmp/x; exit 3", "kill -9 $$", "exec /no/such"] {
            let mut spec = fixture.shell(script);
            spec.keep_disk = Some(id.clone());
            fixture.launch(&spec).await.ended().await;
            assert_eq!(fixture.node.snapshots().await.unwrap(), [], "{script}");
        }
        let mut spec = fixture.shell("exec sleep 1000");
        spec.keep_disk = Some(id.clone());
        let mut job = fixture.launch(&spec).await;
        job.running().await;
        patient(job.link.destroy()).await.unwrap();
        job.ended().await;
        assert_eq!(fixture.node.snapshots().await.unwrap(), []);
        assert!(!fixture.node.layout().partial_snapshot(&id).exists());
    });
}
