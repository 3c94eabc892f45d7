//! A server whose volume is really full: what was acknowledged stays, and writing works again when there is room.

mod servers;
mod small;

use dauer_store::moving::Movable;
use dauer_store::{Error, NewAudit, Postgres, Store};
use servers::postgres::Server;
use std::process::Command;

/// Set for the child, which runs in a mount namespace of its own.
const FOLDER: &str = "DAUER_STORE_POSTGRES_FULL_DISK_TEST_FOLDER";

const TEST: &str = "on_a_full_volume_nothing_acknowledged_is_lost";

#[test]
fn on_a_full_volume_nothing_acknowledged_is_lost() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(filled(std::path::Path::new(&folder)));
        println!("the volume was full");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=96m,mode=755 tmpfs \"$0\"";
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-ec", script]);
        command.arg(folder.path());
        command
    };
    let can = unshare(mount)
        .output()
        .is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: no small file system can be mounted here (needs root)");
        return;
    }
    let output = unshare(&format!("{mount}; exec \"$1\" --exact {TEST} --nocapture"))
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if said.contains("skipped:") {
        println!("skipped: PostgreSQL is not installed here");
        return;
    }
    assert!(
        output.status.success() && said.contains("the volume was full"),
        "{said}"
    );
}

async fn filled(volume: &std::path::Path) {
    let sockets = tempfile::tempdir().unwrap();
    let settings = ["min_wal_size=2MB", "max_wal_size=8MB", "shared_buffers=8MB"];
    let Some(mut server) = Server::start_in(sockets, volume.join("data"), &settings) else {
        return;
    };
    let store = Postgres::connect(&server.fresh()).await.unwrap();
    let ballast = volume.join("ballast");
    let mut job = small::job(1);
    let mut acknowledged: u64 = 0;
    store
        .create(job.clone(), small::entry("created"))
        .await
        .unwrap();
    acknowledged += 1;
    fill(&ballast);
    // Either the server says that it is full, or it fails; both come sooner or later.
    let mut refused = false;
    for number in 2..=400 {
        let big = small::job(number);
        let mut entry = small::entry("created");
        entry.detail = Some("x".repeat(200_000));
        let created =
            tokio::time::timeout(std::time::Duration::from_secs(20), store.create(big, entry));
        match created.await {
            Ok(Ok(())) => acknowledged += 1,
            Ok(Err(Error::NoSpace(_))) => {
                refused = true;
                break;
            }
            Ok(Err(error)) => panic!("{error}"),
            // The server is down: it writes on when it comes back.
            Err(_) => {
                refused = true;
                acknowledged += 1;
                break;
            }
        }
    }
    assert!(refused, "the volume was never full");
    std::fs::remove_file(&ballast).unwrap();
    server.kill();
    server.run();
    job.version += 1;
    let change = dauer_store::Change {
        job: std::sync::Arc::new(job.clone()),
        entry: Some(small::entry("moved")),
        checkpoint: None,
        token: None,
        forget_tokens: dauer_core::Forget::None,
        kept: Vec::new(),
    };
    store.commit(change).await.unwrap();
    assert_eq!(store.job(&job.id).await.unwrap(), job);
    let journal = store.journal(None, 0, 10_000).await.unwrap();
    let created = journal
        .iter()
        .filter(|entry| entry.event == "created")
        .count();
    assert_eq!(u64::try_from(created).unwrap(), acknowledged);
    assert_eq!(store.check().await.unwrap(), []);
    let audit = NewAudit {
        at: dauer_core::Timestamp(1),
        event: "token_removed".into(),
        subject: "x".into(),
        detail: None,
        by: None,
        why: None,
    };
    let gone = store.remove_access_token("x", audit).await;
    assert!(matches!(gone, Err(Error::NotFound(_))), "{gone:?}");
}

/// Takes what is left.
fn fill(ballast: &std::path::Path) {
    use std::io::Write;
    let mut file = std::fs::File::create(ballast).unwrap();
    let error = loop {
        if let Err(error) = file.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}
