//! A file system that is really full: what was acknowledged stays, and writing works again when there is room.

mod small;

use dauer_store::{Error, Sqlite, Store};
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// Names the small file system for the child, which runs in a mount namespace of its own.
const FOLDER: &str = "DAUER_STORE_FULL_DISK_TEST_FOLDER";

const TEST: &str = "on_a_full_disk_nothing_acknowledged_is_lost";

#[test]
fn on_a_full_disk_nothing_acknowledged_is_lost() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()
            .unwrap();
        runtime.block_on(async {
            filled_by_others(Path::new(&folder)).await;
            filled_by_the_store(Path::new(&folder)).await;
        });
        println!("the disk was full");
        return;
    }
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-ec", script]);
        command
    };
    let folder = tempfile::tempdir().unwrap();
    let mount = "mount -t tmpfs -o size=24m tmpfs \"$0\"";
    if !unshare(mount)
        .arg(folder.path())
        .output()
        .is_ok_and(|output| output.status.success())
    {
        println!("skipped: no small file system can be mounted here (needs unshare and mount)");
        return;
    }
    let output = unshare(&format!("{mount}; exec \"$1\" --exact {TEST} --nocapture"))
        .arg(folder.path())
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(
        output.status.success() && said.contains("the disk was full"),
        "{said}"
    );
}

/// What a job did to the disk can still be written down.
async fn filled_by_others(folder: &Path) {
    let store = Sqlite::open(folder.join("others.db")).unwrap();
    store
        .create(small::job(1), small::entry("created"))
        .await
        .unwrap();
    let mut ballast = std::fs::File::create(folder.join("ballast")).unwrap();
    let error = loop {
        if let Err(error) = ballast.write_all(&[0; 4096]) {
            break error;
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    for n in 2..100 {
        store
            .create(small::job(n), small::entry("created"))
            .await
            .unwrap();
    }
    check(&store, &(1..100).collect::<Vec<_>>(), &[]).await;
    drop(store);
    std::fs::remove_file(folder.join("ballast")).unwrap();
}

/// On a file system that gets full by the store itself.
async fn filled_by_the_store(folder: &Path) {
    let ballast = folder.join("ballast");
    std::fs::write(&ballast, vec![0; 4 << 20]).unwrap();
    let store = Sqlite::open(folder.join("dauer.db")).unwrap();
    let (mut written, mut refused) = (Vec::new(), Vec::new());
    for round in 0.. {
        assert!(round < 10_000, "it never got full");
        let batch = (round * 16..(round + 1) * 16).map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                (
                    n,
                    store.create(small::job(n), small::entry("created")).await,
                )
            })
        });
        for write in batch.collect::<Vec<_>>() {
            match write.await.unwrap() {
                (n, Ok(())) => written.push(n),
                (n, Err(Error::NoSpace(_))) => refused.push(n),
                (_, Err(other)) => panic!("{other:?}"),
            }
        }
        if !refused.is_empty() {
            break;
        }
    }
    check(&store, &written, &refused).await;
    std::fs::remove_file(ballast).unwrap();
    for n in std::mem::take(&mut refused) {
        store
            .create(small::job(n), small::entry("created"))
            .await
            .unwrap();
        written.push(n);
    }
    drop(store);
    check(
        &Sqlite::open(folder.join("dauer.db")).unwrap(),
        &written,
        &refused,
    )
    .await;
}

async fn check(store: &Sqlite, written: &[u64], refused: &[u64]) {
    for &n in written {
        assert_eq!(store.job(&small::id(n)).await.unwrap(), small::job(n));
    }
    for &n in refused {
        assert!(matches!(
            store.job(&small::id(n)).await,
            Err(Error::NotFound(_))
        ));
    }
    assert_eq!(
        store.journal(None, 0, usize::MAX).await.unwrap().len(),
        written.len()
    );
}
