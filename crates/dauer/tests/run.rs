//! `dauer run` and `exec`: exact output, exit codes, input and signals.

mod node;

use nix::sys::signal::Signal;
use node::{Node, Running};
use std::io::Write;
use std::process::Stdio;

#[test]
fn output_is_exact_and_the_exit_code_is_the_programs() {
    let node = Node::new();
    let ended = node
        .script("printf 'one\\n\\0two'; printf 'oops' >&2; exit 7")
        .is(7);
    assert_eq!(ended.bytes, b"one\n\0two");
    assert_eq!(ended.stderr, "oops");
    node.script("exit 0").is(0);
    node.script("kill -TERM $$").is(128 + 15);
    node.dauer("run --driver native -- /bin/no-such-program")
        .is(127)
        .says("no-such-program");
    node.dauer("run --driver native -- /etc/passwd")
        .is(126)
        .says("/etc/passwd");
}

#[test]
fn much_output_arrives_whole_and_in_order() {
    let node = Node::new();
    let ended = node.script("seq 1 2000000").is(0);
    let expected: String = (1..=2_000_000)
        .map(|number| format!("{number}\n"))
        .collect();
    assert_eq!(ended.bytes.len(), expected.len());
    assert!(ended.bytes == expected.as_bytes());
    let again = node
        .dauer(&format!("logs {}", node.dauer("ps -aq").stdout.trim()))
        .is(0);
    assert!(again.bytes == expected.as_bytes());
}

#[test]
fn input_reaches_the_program_and_so_does_its_end() {
    let node = Node::new();
    let mut command = node.command(["run", "--driver", "native", "--", "sha256sum"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let piece = [b'x'; 1 << 16];
    for _ in 0..64 {
        stdin.write_all(&piece).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    let expected = "head -c 4194304 /dev/zero | tr '\\0' x | sha256sum";
    let expected = std::process::Command::new("sh")
        .args(["-c", expected])
        .output()
        .unwrap();
    assert_eq!(output.stdout, expected.stdout);
    assert!(output.status.success());
}

#[test]
fn signals_go_on_to_the_program() {
    let node = Node::new();
    let script = "trap 'echo interrupted; exit 5' INT; echo ready; while :; do sleep 0.01; done";
    let mut running =
        Running::start(node.command(["run", "--driver", "native", "--", "sh", "-c", script]));
    assert_eq!(running.line(), "ready");
    running.signal(Signal::SIGINT);
    assert_eq!(running.end(), (vec!["interrupted".to_owned()], Some(5)));
}

#[test]
fn a_program_whose_reader_is_gone_ends_as_in_a_pipeline() {
    let node = Node::new();
    let mut running = Running::start(node.command(["run", "--driver", "native", "--", "yes"]));
    assert_eq!(running.line(), "y");
    assert_eq!(running.stop_reading(), Some(128 + 13));
}

#[test]
fn environment_folder_and_user_are_as_asked() {
    let node = Node::new();
    std::fs::write(node.path("env"), "A=file\nB=file\n").unwrap();
    let env_file = node.path("env");
    let script =
        "echo $A $B $(pwd); test -n \"$DAUER_API\" && test -n \"$DAUER_JOB_ID\" && echo named";
    let arguments = [
        "run",
        "--driver",
        "native",
        "--env-file",
        env_file.to_str().unwrap(),
        "--env",
        "B=flag",
    ];
    let ended = node
        .run(
            arguments
                .into_iter()
                .chain(["--workdir", "/usr", "--", "sh", "-c", script]),
        )
        .is(0);
    assert_eq!(ended.stdout, "file flag /usr\nnamed\n");
}

#[test]
fn a_mount_and_an_injected_folder_are_there_and_the_host_stays_as_it_was() {
    let node = Node::new();
    std::fs::create_dir(node.path("shared")).unwrap();
    std::fs::create_dir(node.path("given")).unwrap();
    std::fs::write(node.path("given/input"), "given\n").unwrap();
    let script = "cat input; echo out > /mnt/result; echo x > /etc/dauer-test-file; cat /etc/dauer-test-file";
    let arguments = [
        "run",
        "--driver",
        "native",
        "--mount",
        "./shared:/mnt",
        "--inject",
        "given",
    ];
    let ended = node
        .run(
            arguments
                .into_iter()
                .chain(["--workdir", "/srv", "--", "sh", "-c", script]),
        )
        .is(0);
    assert_eq!(ended.stdout, "given\nx\n");
    assert_eq!(
        std::fs::read_to_string(node.path("shared/result")).unwrap(),
        "out\n"
    );
    assert!(!std::path::Path::new("/etc/dauer-test-file").exists());
    assert!(!std::path::Path::new("/srv/input").exists());
}

#[test]
fn rm_leaves_nothing_behind() {
    let node = Node::new();
    let ended = node
        .run([
            "run",
            "--driver",
            "native",
            "--rm",
            "--",
            "sh",
            "-c",
            "echo here; exit 3",
        ])
        .is(3);
    assert_eq!(ended.stdout, "here\n");
    // Removed when its reader is gone, which is just now.
    let events = node.dauer("ps -aq").is(0).stdout;
    if !events.is_empty() {
        let id = events.trim().to_owned();
        node.dauer(&format!("events -f {id}"));
    }
    assert_eq!(node.dauer("ps -aq").is(0).stdout, "");
}

#[test]
fn the_job_as_json_at_the_end() {
    let node = Node::new();
    let ended = node
        .run([
            "run",
            "--driver",
            "native",
            "--json",
            "--",
            "sh",
            "-c",
            "echo out; exit 4",
        ])
        .is(4);
    assert_eq!(ended.stdout, "out\n");
    let job: serde_json::Value = serde_json::from_str(&ended.stderr).unwrap();
    assert_eq!(
        (job["exit_code"].as_i64(), job["state"].as_str()),
        (Some(4), Some("failed"))
    );
    let detached = node
        .dauer("run --driver native --detach --json -- true")
        .is(0);
    let id: serde_json::Value = serde_json::from_str(&detached.stdout).unwrap();
    node.dauer(&format!("wait {}", id["id"].as_str().unwrap()))
        .is(0);
}

#[test]
fn another_program_runs_inside_a_job() {
    let node = Node::new();
    let mut job = Running::start(node.command([
        "run",
        "--driver",
        "native",
        "--name",
        "host",
        "--",
        "sh",
        "-c",
        "echo inside > /tmp/note; echo up; read line",
    ]));
    assert_eq!(job.line(), "up");
    let ended = node
        .run([
            "exec",
            "host",
            "--",
            "sh",
            "-c",
            "cat /tmp/note; echo err >&2; exit 9",
        ])
        .is(9);
    assert_eq!(
        (ended.stdout.as_str(), ended.stderr.as_str()),
        ("inside\n", "err\n")
    );
    node.dauer("exec host -- /no/such/thing")
        .is(127)
        .says("/no/such/thing");
    let mut cat = Running::start(node.command(["exec", "-i", "host", "--", "cat"]));
    cat.say("through\n");
    assert_eq!(cat.line(), "through");
    assert_eq!(cat.end(), (vec![], Some(0)));
    job.say("\n");
    assert_eq!(job.end().1, Some(0));
    node.dauer("exec host -- true").is(125).says("not running");
}
