//! What is done with a store as a whole: moved with its jobs, backed up while it is used, restored, looked through.

mod node;

use node::{Ended, Node, kill};
use serde_json::Value;
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// Ends the daemon, with its jobs as they are.
fn end_daemon(node: &Node) {
    kill(node.daemon_pid(), 15);
}

fn url(path: &Path) -> String {
    format!("sqlite:{}", path.display())
}

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).unwrap()
}

#[test]
fn what_runs_or_is_in_use_is_not_moved_and_says_so() {
    let node = Node::new();
    let id = node.detached("busy", "sleep 1000");
    node.wait_until_started("busy");
    let to = url(&node.path("new.db"));
    let migrate = || node.run(["store", "migrate", "--to", &to]);
    migrate().is(1).says("is in use: end its daemon first");
    end_daemon(&node);
    migrate().is(1).says(&id);
    let ended = node.run([
        "store",
        "migrate",
        "--from",
        "sqlite:nowhere.db",
        "--to",
        &to,
    ]);
    ended.is(1).says("there is no store at");
    assert!(!node.path("nowhere.db").exists());
    let itself = url(&node.data().join("dauer.db"));
    node.run(["store", "migrate", "--to", &itself])
        .is(1)
        .says("is both");
    // The job goes on under its daemon as if nothing had been.
    node.dauer("kill busy").is(0);
    node.dauer("wait busy").is(137);
}

#[test]
fn a_move_that_is_killed_again_and_again_ends_right_and_no_daemon_begins_on_a_part() {
    let node = Node::new();
    node.define(&node::shell("greet", "true")).is(0);
    let batch = "{\"definition_name\": \"greet\", \"delay\": \"1d\"}\n".repeat(10_000);
    fs::write(node.path("batch.jsonl"), batch).unwrap();
    for _ in 0..2 {
        node.dauer("batch batch.jsonl").is(0);
    }
    end_daemon(&node);
    let new = node.path("new.db");
    let to = url(&new);
    let mut halves = 0;
    // Killed when the file has grown so far.
    for megabytes in 0..6 {
        let mut child = node
            .command(["store", "migrate", "--to", &to])
            .stdout(std::process::Stdio::null())
            .stderr(std::process::Stdio::null())
            .spawn()
            .unwrap();
        let size = || {
            let length = |path: PathBuf| fs::metadata(path).map_or(0, |file| file.len());
            length(new.clone()) + length(new.with_extension("db-wal"))
        };
        let wanted = 1 + megabytes * 3_000_000;
        while size() < wanted && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        // It may have ended just now.
        let _ = child.kill();
        child.wait().unwrap();
        let check = node.run(["store", "check", &to, "--json"]);
        if check.code == Some(1) && check.stdout.contains("half_moved") {
            halves += 1;
            let mut serve = node.command(["serve", "--store", &to]);
            Ended::of(serve.output().unwrap())
                .is(1)
                .stderr
                .contains("only a part of");
        }
    }
    assert!(halves > 0, "it was never cut off in the middle");
    let moved = node.run(["store", "migrate", "--to", &to, "--json"]).is(0);
    assert_eq!(json(&moved)["parts"]["jobs"]["count"], 20_000);
    assert_eq!(json(&moved)["resumed"], true);
    node.run(["store", "check", &to]).is(0);
}

#[test]
fn a_backup_under_load_is_whole_and_is_restored_once_the_daemon_has_ended() {
    let node = Node::new();
    node.define(&node::shell("greet", "true")).is(0);
    let batch = "{\"definition_name\": \"greet\", \"delay\": \"1d\"}\n".repeat(200);
    fs::write(node.path("batch.jsonl"), batch).unwrap();
    node.dauer("batch batch.jsonl").is(0);
    let busy = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            (0..10)
                .map(|_| node.dauer("batch batch.jsonl").code)
                .collect::<Vec<_>>()
        });
        for n in 0..3 {
            let file = format!("backup-{n}.db");
            let backed = node.run(["store", "backup", &file, "--json"]).is(0);
            assert!(json(&backed)["bytes"].as_u64() > Some(0));
            node.run(["store", "check", &format!("sqlite:{file}")])
                .is(0);
        }
        writer.join().unwrap()
    });
    assert_eq!(busy, vec![Some(0); 10]);
    node.dauer("store backup backup-0.db").is(1).says("exists");
    node.dauer("store restore backup-0.db").is(1).says("in use");
    let present = json(&node.dauer("ps -a --json").is(0));
    assert_eq!(present.as_array().map(Vec::len), Some(2200));
    end_daemon(&node);
    // One that is damaged is not put there.
    fs::copy(node.path("backup-0.db"), node.path("broken.db")).unwrap();
    let mut broken = fs::OpenOptions::new()
        .write(true)
        .open(node.path("broken.db"))
        .unwrap();
    broken.seek(SeekFrom::Start(40_960)).unwrap();
    broken.write_all(&[0xab; 8192]).unwrap();
    drop(broken);
    node.dauer("store restore broken.db").is(1).says("damaged");
    node.dauer("store check sqlite:broken.db").is(1);
    let restored = node.dauer("store restore backup-0.db").is(0);
    let kept = restored
        .stdout
        .lines()
        .find_map(|line| line.strip_prefix("The store that was there: "))
        .expect("it says where the old one is");
    node.run(["store", "check", &format!("sqlite:{kept}")])
        .is(0);
    let jobs = json(&node.dauer("ps -a --json").is(0));
    let restored = jobs.as_array().map_or(0, Vec::len);
    assert!((200..2200).contains(&restored), "{restored}");
}
