//! Steps through the library alone, in sandboxes of this machine.

use async_trait::async_trait;
use dauer::{Action, Error, Policy, Sink, Source, Steps, Surroundings};
use std::path::Path;

struct Heard(Vec<u8>);

#[async_trait]
impl Sink for Heard {
    async fn output(&mut self, _: dauer::Stream, bytes: bytes::Bytes) {
        self.0.extend_from_slice(&bytes);
    }
}

fn shell(script: &str) -> Action {
    Action {
        cmd: ["sh", "-c", script].map(str::to_owned).into(),
        around: Surroundings {
            driver: Some("native".to_owned()),
            ..Surroundings::default()
        },
        ..Action::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_runs_steps_in_sandboxes_without_a_daemon() {
    let folder = tempfile::Builder::new()
        .prefix("dauer-steps-")
        .tempdir()
        .unwrap();
    let open = || Steps::builder(folder.path(), Path::new(env!("CARGO_BIN_EXE_dauer"))).open();
    let steps = open().await.unwrap();
    let key = || Policy::Cache { key: "k".into() };
    let run = steps.executor().unwrap();
    let mut heard = Heard(Vec::new());
    let first = run
        .execute(shell("echo said; echo 1 > /var/tmp/n"), key(), &mut heard)
        .await
        .unwrap();
    assert_eq!(
        (first.exit_code, first.cached, heard.0.as_slice()),
        (0, false, &b"said\n"[..])
    );
    let from = first.snapshot.clone().unwrap();
    let mut heard = Heard(Vec::new());
    let action = Action {
        source: Source::Snapshot(from.clone()),
        ..shell("cat /var/tmp/n")
    };
    let second = run
        .execute(action.clone(), Policy::None, &mut heard)
        .await
        .unwrap();
    assert_eq!((heard.0.as_slice(), second.kept), (&b"1\n"[..], false));
    let of_the_run = second.snapshot.unwrap();
    assert!(folder.path().join("snapshots").join(&of_the_run.0).exists());
    run.end().await;
    assert!(!folder.path().join("snapshots").join(&of_the_run.0).exists());
    steps.close().await;
    assert!(matches!(steps.executor(), Err(Error::Unsupported(_))));
    drop(steps);
    // Another process with the folder has the cache.
    let steps = open().await.unwrap();
    let run = steps.executor().unwrap();
    let again = run.execute(shell("exit 9"), key(), &mut ()).await.unwrap();
    assert_eq!((again.cached, again.snapshot.as_ref()), (true, Some(&from)));
    let failed = run
        .execute(shell("exit 4"), Policy::None, &mut ())
        .await
        .unwrap();
    assert_eq!((failed.exit_code, failed.snapshot), (4, None));
    steps.close().await;
}
