//! `dauer` inside a sandbox, and the archives behind `dauer cp`.

mod inside;

use dauer_wire::guest::{ApiRequest, ApiResponse, Command, ToGuest};
use inside::{Inside, answer, code, command, scratch, sh, text};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const DAUER: &str = env!("CARGO_BIN_EXE_dauer-guest");

fn dauer(arguments: &str) -> Command {
    sh(&format!("{DAUER} {arguments}"))
}

/// Outside of any sandbox: code, output, errors.
fn outside(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = std::process::Command::new(DAUER)
        .args(arguments)
        .env_remove("DAUER_API")
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn status(token: &str, status: &str, message: Option<&str>) -> ApiResponse {
    let message = message.map_or("null".to_owned(), |message| format!("{message:?}"));
    let body = format!(
        "{{\"token\":\"{token}\",\"status\":\"{status}\",\"checkpoint\":null,\"message\":{message},\"generation\":1}}"
    );
    answer(if status == "pending" { 202 } else { 200 }, &body)
}

#[test]
fn outside_of_dauer_a_checkpoint_is_nothing_to_do() {
    assert_eq!(
        outside(&["checkpoint", "--self"]),
        (
            Some(0),
            "not managed by dauer; nothing to do\n".into(),
            String::new()
        )
    );
}

#[test]
fn wrong_usage_is_code_2_and_help_is_code_0() {
    for arguments in [
        &[][..],
        &["fly"],
        &["checkpoint"],
        &["checkpoint", "--self", "--suspend", "soon"],
        &["tar-out"],
    ] {
        let (code, stdout, stderr) = outside(arguments);
        assert_eq!((code, &*stdout), (Some(2), ""), "{arguments:?}: {stderr}");
    }
    assert!(outside(&["--help"]).1.contains("checkpoint --self"));
    assert_eq!(
        outside(&["--version"]).1,
        format!("dauer {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(outside(&["self"]).0, Some(1), "there is no self to show");
}

#[test]
fn a_checkpoint_is_asked_for_once_and_its_outcome_until_it_is_there() {
    let mut inside = Inside::run(dauer("checkpoint --self --suspend 10s --token a/b"));
    let mut asked = Vec::new();
    let ended = inside.serve(|request| {
        asked.push(format!("{} {}", request.method, request.path));
        match asked.len() {
            1 => {
                let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(
                    body,
                    serde_json::json!({"token": "a/b", "suspend": "10s", "wait_signal": null})
                );
                status("a/b", "pending", None)
            }
            2 => status("a/b", "pending", None),
            _ => status("a/b", "restored", None),
        }
    });
    assert_eq!(ended, code(0));
    let poll = "GET /v1/self/checkpoint/a%2Fb";
    assert_eq!(asked, ["POST /v1/self/checkpoint", poll, poll]);
    assert_eq!(inside.end(), "restored\n");
}

#[test]
fn a_random_token_is_kept_through_a_daemon_that_restarts() {
    let mut inside = Inside::run(dauer("checkpoint --self"));
    let mut tokens = Vec::new();
    let token_of = |request: &ApiRequest| {
        let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
        body["token"].as_str().unwrap().to_owned()
    };
    let ended = inside.serve(|request| {
        if request.method == "POST" {
            tokens.push(token_of(request));
            return if tokens.len() == 1 {
                answer(503, "{}")
            } else {
                status(&tokens[0], "pending", None)
            };
        }
        status(&tokens[0], "taken", None)
    });
    assert_eq!(ended, code(0));
    assert_eq!(
        (tokens.len(), tokens[0].len(), &tokens[0]),
        (2, 36, &tokens[1])
    );
    assert_eq!(inside.end(), "taken\n");
}

#[test]
fn a_failed_checkpoint_and_a_refusal_are_code_1_with_the_reason() {
    let mut inside = Inside::run(dauer("checkpoint --self 2>&1"));
    assert_eq!(
        inside.serve(|_| status("t", "failed", Some("the disk is full"))),
        code(1)
    );
    assert_eq!(
        inside.end(),
        "dauer: no checkpoint was taken: the disk is full\n"
    );
    let mut inside = Inside::run(dauer("checkpoint --self 2>&1"));
    let problem =
        r#"{"status":422,"code":"unsupported","detail":"the driver native takes no checkpoints"}"#;
    assert_eq!(inside.serve(|_| answer(422, problem)), code(1));
    assert_eq!(
        inside.end(),
        "dauer: the driver native takes no checkpoints\n"
    );
}

#[test]
fn self_is_shown_for_people_and_for_programs() {
    let view =
        r#"{"id":"j","name":"n","state":"running","attempt":1,"generation":2,"checkpoint":null}"#;
    let mut inside = Inside::run(dauer(&format!("self; {DAUER} self --json")));
    assert_eq!(inside.serve(|_| answer(200, view)), code(0));
    let expected = format!(
        "job        j (n)\nstate      running\nattempt    1\ngeneration 2\ncheckpoint none\n{view}\n"
    );
    assert_eq!(inside.end(), expected);
}

#[test]
fn a_tree_comes_out_and_goes_in_unchanged_through_sessions() {
    let folder = scratch("archive");
    let (from, to) = (folder.join("tree"), folder.join("to"));
    fs::create_dir_all(from.join("sub/empty")).unwrap();
    fs::create_dir(&to).unwrap();
    let long = "long-name-".repeat(20);
    fs::write(from.join(&long), "long").unwrap();
    fs::write(from.join("sub/big"), vec![7; 1_000_000]).unwrap();
    fs::set_permissions(from.join("sub/big"), fs::Permissions::from_mode(0o640)).unwrap();
    symlink("/not/there", from.join("link")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();

    let mut inside = Inside::run(sh("sleep 1000"));
    inside.exec(1, command(&[DAUER, "tar-out", from.to_str().unwrap()]));
    let (outputs, ended) = inside.output_to_end(1);
    assert_eq!(
        ended,
        code(0),
        "{}",
        text(&outputs, dauer_wire::guest::Stream::Stderr)
    );
    let mut extract = command(&[DAUER, "tar-in", to.to_str().unwrap()]);
    extract.stdin = true;
    inside.exec(2, extract);
    for chunk in outputs[&1].chunks(100_000) {
        inside.say(ToGuest::Input {
            session: 2,
            bytes: chunk.to_vec(),
        });
    }
    inside.say(ToGuest::Input {
        session: 2,
        bytes: Vec::new(),
    });
    assert_eq!(inside.exited(2), code(0));

    let copy = to.join("tree");
    assert_eq!(fs::read_to_string(copy.join(long)).unwrap(), "long");
    assert_eq!(fs::read(copy.join("sub/big")).unwrap(), vec![7; 1_000_000]);
    assert_eq!(
        fs::metadata(copy.join("sub/big")).unwrap().mode() & 0o777,
        0o640
    );
    assert_eq!(
        fs::read_link(copy.join("link")).unwrap().to_str(),
        Some("/not/there")
    );
    assert!(copy.join("sub/empty").is_dir() && !copy.join("socket").exists());
}

#[test]
fn a_missing_path_is_one_line_and_code_1() {
    for way in ["tar-out", "tar-in"] {
        let (code, stdout, stderr) = outside(&[way, "/no/such"]);
        assert_eq!(
            (code, &*stderr),
            (
                Some(1),
                "dauer: /no/such: No such file or directory (os error 2)\n"
            ),
            "{way}"
        );
        assert!(
            stdout.len() < 2048 && stdout.bytes().all(|byte| byte == 0),
            "nothing but an empty archive"
        );
    }
}

#[test]
fn an_archive_cannot_leave_its_folder() {
    let folder = scratch("escape");
    let inner = folder.join("inner");
    fs::create_dir(&inner).unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    header.as_gnu_mut().unwrap().name[..10].copy_from_slice(b"../escaped");
    header.set_cksum();
    archive.append(&header, &b"x"[..]).unwrap();
    let mut child = std::process::Command::new(DAUER)
        .args(["tar-in", inner.to_str().unwrap()])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    // It may refuse before it has read all.
    let _ = std::io::Write::write_all(
        &mut child.stdin.take().unwrap(),
        &archive.into_inner().unwrap(),
    );
    child.wait().unwrap();
    assert!(!folder.join("escaped").exists());
}
