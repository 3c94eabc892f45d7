//! Freezing and thawing with memory.

use crate::fixture::{Fixture, checkpoint_id, code, left_of, patient, with_each_driver};
use dauer_sandbox::protocol::{ExitRecord, Phase};
use dauer_sandbox::{Error, SandboxSpec};
use dauer_wire::guest::ApiResponse;
use dauer_wire::http::Marker;

/// Counts on request: a line of input is a step, its number is only in memory, and each goes to a file too. Ends at the line `end`
/// and never at the end of its input, which it sees for a moment when the agent is killed.
const COUNTER: &str = "import sys, time
n = 0
held = open('/root-of-job.txt', 'w')
print('up', flush=True)
for line in sys.stdin:
    if line == 'end\\n': break
    n += 1
    held.write('%d\\n' % n)
    held.flush()
    print('step', n, line.strip(), flush=True)
    print('noted', n, file=sys.stderr, flush=True)
else: time.sleep(1000)
print('file', open('/root-of-job.txt').read().split())
sys.exit(n)";

fn counter(fixture: &Fixture) -> SandboxSpec {
    SandboxSpec {
        stdin: true,
        ..fixture.spec(&["/usr/bin/python3", "-c", COUNTER])
    }
}

#[test]
fn a_frozen_job_is_nothing_but_files_and_goes_on_where_it_was() {
    with_each_driver(true, async |fixture| {
        let mut spec = counter(fixture);
        let mut wanted = "up\n".to_owned();
        let mut id = checkpoint_id();
        for generation in 1..=4 {
            let mut job = fixture.launch(&spec).await;
            job.running().await;
            let mut stdin = patient(job.link.stdin()).await.unwrap();
            patient(stdin.write(format!("in {generation}\n").into()))
                .await
                .unwrap();
            wanted += &format!("step {generation} in {generation}\n");
            if generation == 4 {
                patient(stdin.write("end\n".into())).await.unwrap();
                assert_eq!(code(&job.ended().await), Some(4));
                break;
            }
            // Not waited for: what was accepted belongs to the checkpoint, read or not.
            id = checkpoint_id();
            let started = std::time::Instant::now();
            let checkpoint = patient(job.link.checkpoint(&id, true, Some("tok".into())))
                .await
                .unwrap();
            println!(
                "  {} ms, frozen {} ms, {} KiB",
                started.elapsed().as_millis(),
                checkpoint.frozen_ms,
                checkpoint.memory_bytes >> 10
            );
            assert_eq!(
                (
                    &checkpoint.id,
                    checkpoint.generation,
                    checkpoint.token.as_deref()
                ),
                (&id, generation, Some("tok"))
            );
            let phase = job
                .until(|phase| matches!(phase, Phase::Frozen { .. }))
                .await;
            assert_eq!(
                phase,
                Phase::Frozen {
                    checkpoint: Box::new(checkpoint.clone())
                }
            );
            // The same call again, as a new daemon would make it.
            assert_eq!(
                patient(job.link.checkpoint(&id, true, None)).await.unwrap(),
                checkpoint
            );
            assert_eq!(fixture.node.published(&id).await.unwrap(), Some(checkpoint));
            patient(job.link.destroy()).await.unwrap();
            let record = job.ended().await;
            assert!(
                matches!(&record, ExitRecord::Suspended { checkpoint, .. } if *checkpoint == id),
                "{record:?}"
            );
            assert_eq!(left_of(&spec.id.instance(generation)), Vec::<String>::new());
            fixture
                .node
                .discard_incarnation(&spec.id, generation)
                .await
                .unwrap();
            spec = fixture.next(&spec, &id, false);
        }
        wanted += "file ['1', '2', '3', '4']\n";
        assert_eq!(fixture.text(&spec).await, wanted);
        assert_eq!(
            fixture.output(&spec, 2).await,
            b"noted 1\nnoted 2\nnoted 3\nnoted 4\n"
        );
        let markers: Vec<Marker> = (2..=4)
            .map(|generation| Marker::Woken { generation })
            .collect();
        assert_eq!(fixture.markers(&spec).await, markers);
        fixture.node.remove_snapshot(&id).await.unwrap();
        assert_eq!(fixture.node.published(&id).await.unwrap(), None);
    });
}

#[test]
fn after_a_loss_lines_after_the_checkpoint_come_again_once_and_marked() {
    with_each_driver(true, async |fixture| {
        let spec = counter(fixture);
        let mut job = fixture.launch(&spec).await;
        let (_, sandbox) = job.pids().await;
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        patient(stdin.write("a\n".into())).await.unwrap();
        fixture.wait_for_text(&spec, "step 1 a").await;
        let id = checkpoint_id();
        let checkpoint = patient(job.link.checkpoint(&id, false, None))
            .await
            .unwrap();
        // The original goes on, its memory and its files with it.
        patient(stdin.write("b\n".into())).await.unwrap();
        fixture.wait_for_text(&spec, "step 2 b").await;
        // SAFETY: a process of this test.
        assert_eq!(unsafe { libc::kill(sandbox, libc::SIGKILL) }, 0);
        let record = job.ended().await;
        assert!(matches!(record, ExitRecord::Lost { .. }), "{record:?}");
        let next = fixture.next(&spec, &id, true);
        let mut job = fixture.launch(&next).await;
        job.running().await;
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        patient(stdin.write("c\n".into())).await.unwrap();
        patient(stdin.write("end\n".into())).await.unwrap();
        assert_eq!(code(&job.ended().await), Some(2));
        assert_eq!(
            fixture.text(&next).await,
            "up\nstep 1 a\nstep 2 b\nstep 2 c\nfile ['1', '2']\n"
        );
        let marker = Marker::Restored {
            checkpoint: id.to_string(),
            generation: 2,
            log_offset: checkpoint.log_offset,
        };
        assert_eq!(fixture.markers(&next).await, [marker]);
    });
}

#[test]
fn output_around_a_freeze_is_neither_lost_nor_doubled() {
    with_each_driver(true, async |fixture| {
        // Writes as fast as it can, so that the freeze always comes in the middle of something.
        let script = "import sys\nn = 0\nwhile n < 3000000:\n  sys.stdout.write('%08d\\n' % n); n += 1\n  if n % 100 == 0: sys.stderr.write('%08d\\n' % n)\nsys.exit(3)";
        let mut spec = fixture.spec(&["/usr/bin/python3", "-c", script]);
        for round in 0..3 {
            let mut job = fixture.launch(&spec).await;
            job.running().await;
            if round < 2 {
                // Another one in between that lets it run on.
                patient(job.link.checkpoint(&checkpoint_id(), false, None))
                    .await
                    .unwrap();
                let id = checkpoint_id();
                match patient(job.link.checkpoint(&id, true, None)).await {
                    Ok(_) => patient(job.link.destroy()).await.unwrap(),
                    Err(error) => panic!("{error} (the job may have been too fast for this test)"),
                }
                job.ended().await;
                spec = fixture.next(&spec, &id, false);
            } else {
                assert_eq!(code(&job.ended().await), Some(3));
            }
        }
        let bytes = fixture.output(&spec, 1).await;
        assert_eq!(bytes.len(), 27_000_000);
        for (number, line) in bytes.chunks(9).enumerate() {
            assert_eq!(line, format!("{number:08}\n").as_bytes());
        }
        let bytes = fixture.output(&spec, 2).await;
        assert_eq!(bytes.len(), 270_000);
        for (number, line) in bytes.chunks(9).enumerate() {
            assert_eq!(line, format!("{:08}\n", (number + 1) * 100).as_bytes());
        }
    });
}

#[test]
fn an_unwanted_freeze_is_undone() {
    with_each_driver(true, async |fixture| {
        let spec = counter(fixture);
        let mut job = fixture.launch(&spec).await;
        job.running().await;
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        let id = checkpoint_id();
        patient(job.link.checkpoint(&id, true, None)).await.unwrap();
        assert!(matches!(
            patient(job.link.checkpoint(&checkpoint_id(), false, None)).await,
            Err(Error::Invalid(_))
        ));
        patient(job.link.unfreeze()).await.unwrap();
        assert_eq!(fixture.node.published(&id).await.unwrap(), None);
        assert!(matches!(
            patient(job.link.unfreeze()).await,
            Err(Error::Invalid(_))
        ));
        patient(stdin.write("x\n".into())).await.unwrap();
        patient(stdin.write("end\n".into())).await.unwrap();
        assert_eq!(code(&job.ended().await), Some(1));
    });
}

#[test]
fn a_request_that_hangs_in_the_freeze_is_asked_again_by_the_next_incarnation() {
    with_each_driver(true, async |fixture| {
        let script = "import os, urllib.request as u\nprint(u.urlopen(os.environ['DAUER_API'] + '/v1/self', data=b'body').read().decode())";
        let spec = fixture.spec(&["/usr/bin/python3", "-c", script]);
        let mut job = fixture.launch(&spec).await;
        let (_, request) = job.request().await;
        let id = checkpoint_id();
        patient(job.link.checkpoint(&id, true, None)).await.unwrap();
        patient(job.link.destroy()).await.unwrap();
        let next = fixture.next(&spec, &id, false);
        let mut job = fixture.launch(&next).await;
        let (number, again) = job.request().await;
        assert_eq!(again, request);
        let headers = std::collections::BTreeMap::new();
        job.link.respond(
            number,
            ApiResponse {
                status: 200,
                headers,
                body: b"restored".to_vec(),
            },
        );
        assert_eq!(code(&job.ended().await), Some(0));
        assert_eq!(fixture.text(&next).await, "restored\n");
    });
}

#[test]
fn an_open_file_without_a_name_is_kept_or_refused_with_its_name() {
    with_each_driver(true, async |fixture| {
        let script = "import os, sys\n\
            held = open('/root-held.txt', 'w+'); held.write('kept'); held.flush(); os.remove('/root-held.txt')\n\
            print('up', flush=True)\n\
            sys.stdin.readline(); held.seek(0); print(held.read())";
        let spec = SandboxSpec {
            stdin: true,
            ..fixture.spec(&["/usr/bin/python3", "-c", script])
        };
        let mut job = fixture.launch(&spec).await;
        fixture.wait_for_text(&spec, "up").await;
        let id = checkpoint_id();
        let mut last = spec.clone();
        match patient(job.link.checkpoint(&id, true, None)).await {
            Ok(_) => {
                patient(job.link.destroy()).await.unwrap();
                last = fixture.next(&spec, &id, false);
                job = fixture.launch(&last).await;
                job.running().await;
            }
            Err(error) => {
                assert_eq!(fixture.driver, "gvisor", "{error}");
                assert!(
                    matches!(&error, Error::Unsupported(text) if text.contains("/root-held.txt")),
                    "{error:?}"
                );
                assert_eq!(fixture.node.published(&id).await.unwrap(), None);
                assert!(!fixture.node.layout().partial_snapshot(&id).exists());
            }
        }
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        patient(stdin.write("go\n".into())).await.unwrap();
        assert_eq!(code(&job.ended().await), Some(0));
        assert_eq!(fixture.text(&last).await, "up\nkept\n");
    });
}

#[test]
fn mounts_of_the_host_may_come_and_go_while_a_job_is_frozen() {
    with_each_driver(true, async |fixture| {
        let folder = tempfile::Builder::new()
            .prefix("dauer-mount-")
            .tempdir_in("/var/tmp")
            .unwrap();
        let Some(mounted) = SmallDisk::mount(folder.path()) else {
            println!("skipped: no small file system can be mounted here");
            return;
        };
        let path = folder.path().display();
        let script = format!(
            "import sys\n\
             open('{path}/changed', 'w').write('kept')\n\
             print('up', flush=True)\n\
             sys.stdin.readline(); print(open('{path}/changed').read())"
        );
        let spec = SandboxSpec {
            stdin: true,
            ..fixture.spec(&["/usr/bin/python3", "-c", &script])
        };
        let job = fixture.launch(&spec).await;
        fixture.wait_for_text(&spec, "up").await;
        let id = checkpoint_id();
        patient(job.link.checkpoint(&id, true, None)).await.unwrap();
        patient(job.link.destroy()).await.unwrap();
        drop(mounted);
        let next = fixture.next(&spec, &id, false);
        let mut job = fixture.launch(&next).await;
        job.running().await;
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        patient(stdin.write("go\n".into())).await.unwrap();
        assert_eq!(code(&job.ended().await), Some(0));
        assert_eq!(fixture.text(&next).await, "up\nkept\n");
    });
}

#[test]
fn a_full_disk_refuses_the_freeze_and_the_job_goes_on() {
    with_each_driver(true, async |fixture| {
        // Below /run, where no other sandbox of image `host` sees the mount come and go.
        let fixture = &Fixture::new_in("/run", &fixture.driver);
        let data = &fixture.node.layout().data;
        let Some(_small) = SmallDisk::mount(data) else {
            println!("skipped: no small file system can be mounted here");
            return;
        };
        let spec = counter(fixture);
        let mut job = fixture.launch(&spec).await;
        job.running().await;
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        patient(stdin.write("before\n".into())).await.unwrap();
        let (good, refused) = (checkpoint_id(), checkpoint_id());
        patient(job.link.checkpoint(&good, false, None))
            .await
            .unwrap();
        let ballast = data.join("ballast");
        let room = nix::sys::statvfs::statvfs(data).unwrap();
        let free = room.blocks_available() * room.fragment_size();
        std::fs::write(
            &ballast,
            vec![1; usize::try_from(free).unwrap() - (3 << 20)],
        )
        .unwrap();
        for freeze in [false, true] {
            let error = patient(job.link.checkpoint(&refused, freeze, None))
                .await
                .unwrap_err();
            assert!(matches!(error, Error::NoSpace { .. }), "{error:?}");
            assert!(error.to_string().contains("no space left"), "{error}");
        }
        assert!(!fixture.node.layout().partial_snapshot(&refused).exists());
        patient(stdin.write("after\n".into())).await.unwrap();
        fixture.wait_for_text(&spec, "step 2 after").await;
        // With room again both work: the old checkpoint and a new one.
        // Emptied, not only removed: a process that another test is just starting may hold it open for a moment.
        std::fs::write(&ballast, []).unwrap();
        patient(job.link.checkpoint(&refused, false, None))
            .await
            .unwrap();
        patient(job.link.destroy()).await.unwrap();
        job.ended().await;
        let next = fixture.next(&spec, &good, true);
        let mut job = fixture.launch(&next).await;
        job.running().await;
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        patient(stdin.write("end\n".into())).await.unwrap();
        assert_eq!(code(&job.ended().await), Some(1));
        fixture.clean_up().await;
    });
}

/// A file system of 256 MiB in memory.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path) -> Option<Self> {
        let mut command = std::process::Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", "size=256m", "none"])
            .arg(at);
        let mounted = command.output().is_ok_and(|output| output.status.success());
        mounted.then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
        assert!(
            unmounted.is_ok_and(|status| status.success()),
            "umount {}",
            self.0.display()
        );
    }
}

#[test]
fn a_damaged_image_is_refused_before_anything_of_it_runs() {
    with_each_driver(true, async |fixture| {
        let spec = counter(fixture);
        let mut job = fixture.launch(&spec).await;
        job.running().await;
        let id = checkpoint_id();
        patient(job.link.checkpoint(&id, true, None)).await.unwrap();
        patient(job.link.destroy()).await.unwrap();
        let folder = fixture.node.layout().snapshot(&id).join("memory");
        let largest = std::fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .max_by_key(|entry| entry.metadata().unwrap().len());
        let path = largest.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        let mut next = fixture.next(&spec, &id, false);
        let record = fixture.launch(&next).await.ended().await;
        let ExitRecord::RestoreFailed {
            message,
            bad_image: true,
            ..
        } = &record
        else {
            panic!("{record:?}")
        };
        let name = format!(
            "snapshots/{id}/memory/{}",
            path.file_name().unwrap().to_string_lossy()
        );
        assert!(
            message.contains(&name) && message.contains("damaged"),
            "{message}"
        );
        // Repaired, it works.
        bytes[middle] ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        next.generation += 1;
        let mut job = fixture.launch(&next).await;
        job.running().await;
        patient(job.link.destroy()).await.unwrap();
    });
}

#[test]
fn a_driver_that_cannot_freeze_says_so_and_the_job_goes_on() {
    with_each_driver(false, async |fixture| {
        let can = dauer_sandbox::driver::by_name(&fixture.driver)
            .unwrap()
            .checkpointer()
            .is_some();
        if can && fixture.driver != "crun" {
            return;
        }
        let mut job = fixture.launch(&counter(fixture)).await;
        job.running().await;
        let error = patient(job.link.checkpoint(&checkpoint_id(), true, None))
            .await
            .unwrap_err();
        assert!(
            matches!(&error, Error::Unsupported(text) if text.contains(&fixture.driver)),
            "{error:?}"
        );
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        patient(stdin.write("end\n".into())).await.unwrap();
        assert_eq!(code(&job.ended().await), Some(0));
    });
}
