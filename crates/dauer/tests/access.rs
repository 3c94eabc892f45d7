//! The daemon on the network: tokens, scopes, limits, TLS; and who may use its socket.

mod http;
mod node;

use http::Answer;
use node::{Node, Served};
use serde_json::json;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;

fn ask(
    served: &Served,
    method: &str,
    target: &str,
    token: Option<&str>,
    body: &str,
) -> Answer<TcpStream> {
    let header = token.map_or_else(String::new, |token| {
        format!("authorization: Bearer {token}\r\n")
    });
    let stream = TcpStream::connect(served.address()).unwrap();
    Answer::ask(stream, method, target, &header, body.as_bytes())
}

fn token(node: &Node, arguments: &str) -> String {
    let created = node.dauer(&format!("token create {arguments}")).is(0);
    created.stdout.trim().to_owned()
}

#[test]
fn over_the_network_a_token_says_what_its_bearer_may_do() {
    let node = Node::new();
    let served = node.serve(&["--listen", "127.0.0.1:0"]);
    let (read, submit, admin) = (
        token(&node, "--scope read"),
        token(&node, "--scope submit"),
        token(&node, "--scope admin --name boss"),
    );
    let brief = token(&node, "--scope admin --ttl 1ms");
    let job = json!({"argv": ["true"], "driver": "native"}).to_string();
    for (method, target, token, expected) in [
        ("GET", "/v1/ping", None, 200),
        ("GET", "/v1/openapi.json", None, 200),
        ("GET", "/v1/jobs", None, 401),
        ("GET", "/v1/nowhere", None, 401),
        ("GET", "/v1/jobs", Some("dauer_000000000000_0"), 401),
        ("GET", "/v1/jobs", Some(&read[..read.len() - 1]), 401),
        ("GET", "/v1/jobs", Some(brief.as_str()), 401),
        ("GET", "/v1/jobs", Some(&read), 200),
        ("GET", "/v1/nowhere", Some(&read), 404),
        ("POST", "/v1/jobs", Some(&read), 403),
        ("POST", "/v1/jobs", Some(&submit), 201),
        ("GET", "/v1/tokens", Some(&submit), 403),
        ("GET", "/v1/tokens", Some(&admin), 200),
    ] {
        let body = if method == "POST" { job.as_str() } else { "" };
        let answer = ask(&served, method, target, token, body);
        assert_eq!(answer.status, expected, "{method} {target} {token:?}");
        assert_eq!(
            answer.head.contains("www-authenticate: bearer"),
            expected == 401,
            "{}",
            answer.head
        );
        if expected >= 400 {
            let id = answer
                .head
                .lines()
                .find_map(|line| line.strip_prefix("x-request-id: "))
                .unwrap()
                .to_owned();
            let problem = answer.json();
            assert_eq!(problem["instance"], id);
            let page = format!("/docs/errors/{}.md", problem["code"].as_str().unwrap());
            assert!(
                problem["type"].as_str().unwrap().ends_with(&page),
                "{problem}"
            );
        }
    }
    let listed: serde_json::Value =
        serde_json::from_str(&node.dauer("token ls --json").is(0).stdout).unwrap();
    let listed = listed.as_array().unwrap();
    assert_eq!(listed.len(), 4);
    let boss = listed.iter().find(|token| token["name"] == "boss").unwrap();
    assert!(
        boss["last_used_at"].is_i64() && boss.get("digest").is_none(),
        "{boss}"
    );
    let database = std::fs::read(node.data().join("dauer.db")).unwrap();
    let secret = admin.rsplit('_').next().unwrap();
    assert!(
        !database
            .windows(secret.len())
            .any(|window| window == secret.as_bytes())
    );
    node.dauer(&format!("token rm {}", boss["id"].as_str().unwrap()))
        .is(0);
    assert_eq!(
        ask(&served, "GET", "/v1/tokens", Some(&admin), "").status,
        401
    );
    node.dauer("token rm 123456").is(1).says("dauer token ls");
    // What is committed is known to the next daemon.
    drop(served);
    let served = node.serve(&["--listen", "127.0.0.1:0"]);
    assert_eq!(ask(&served, "GET", "/v1/jobs", Some(&read), "").status, 200);
    assert_eq!(
        ask(&served, "GET", "/v1/jobs", Some(&admin), "").status,
        401
    );
}

#[test]
fn the_command_line_works_over_tls_with_a_token() {
    let node = Node::new();
    let served = node.serve(&["--listen", "127.0.0.1:0", "--tls-self-signed"]);
    assert!(served.url.starts_with("https://"), "{}", served.url);
    let submit = token(&node, "--scope submit");
    let far = |words: &[&str], token: Option<&str>, trusted: bool| {
        let mut command = node.command(words);
        command.env("DAUER_HOST", &served.url);
        if let Some(token) = token {
            command.env("DAUER_TOKEN", token);
        }
        if trusted {
            command.env("DAUER_TLS_CA", node.data().join("tls/cert.pem"));
        }
        node::Ended::of(command.output().unwrap())
    };
    let run = [
        "run",
        "--driver",
        "native",
        "--",
        "sh",
        "-c",
        "echo far; exit 3",
    ];
    assert_eq!(far(&run, Some(&submit), true).is(3).stdout, "far\n");
    far(&["ps"], Some(&submit), false).is(1).says("certificate");
    far(&["ps"], None, true).is(1).says("dauer token create");
    far(&["token", "ls"], Some(&submit), true)
        .is(1)
        .says("scope admin");
}

#[test]
fn a_token_that_asks_too_often_is_told_when_to_come_back() {
    let node = Node::new();
    let served = node.serve(&["--listen", "127.0.0.1:0", "--rate", "2"]);
    let read = token(&node, "--scope read");
    let answers: Vec<_> = (0..8)
        .map(|_| ask(&served, "GET", "/v1/jobs", Some(&read), ""))
        .collect();
    let limited = answers
        .into_iter()
        .find(|answer| answer.status == 429)
        .expect("no answer was 429");
    assert!(limited.head.contains("retry-after: 1"), "{}", limited.head);
    assert_eq!(limited.json()["code"], "rate_limited");
    // Another token has requests of its own.
    let other = token(&node, "--scope read");
    assert_eq!(
        ask(&served, "GET", "/v1/jobs", Some(&other), "").status,
        200
    );
}

#[test]
fn a_plain_address_that_others_reach_is_refused() {
    let node = Node::new();
    for (line, part) in [
        ("serve --listen 0.0.0.0:0", "--tls-self-signed"),
        (
            "serve --listen 127.0.0.1:0 --tls-cert /nowhere.pem --tls-key /nowhere.key",
            "/nowhere.pem",
        ),
    ] {
        let mut command = node.command(line.split(' '));
        command.env("DAUER_LOG", "error");
        node::Ended::of(command.output().unwrap()).is(1).says(part);
    }
}

#[test]
fn another_user_is_refused_also_where_the_socket_lets_them_in() {
    if !nix::unistd::geteuid().is_root() {
        println!(
            "skipped: another_user_is_refused_also_where_the_socket_lets_them_in: needs root to become another user"
        );
        return;
    }
    let node = Node::new();
    node.dauer("ps").is(0);
    let everybody = std::fs::Permissions::from_mode(0o777);
    let folder = node.path("").parent().unwrap().to_owned();
    for path in [folder, node.path("run"), node.path("run/dauer.sock")] {
        std::fs::set_permissions(path, everybody.clone()).unwrap();
    }
    let binary = node.path("dauer");
    std::fs::copy(env!("CARGO_BIN_EXE_dauer"), &binary).unwrap();
    let mut command = std::process::Command::new(binary);
    command
        .env(
            "DAUER_HOST",
            format!("unix://{}", node.path("run/dauer.sock").display()),
        )
        .arg("ps")
        .uid(65_534)
        .gid(65_534);
    node::Ended::of(command.output().unwrap())
        .is(1)
        .says("user 65534 may not use this socket");
}

#[test]
fn a_request_keeps_its_id_and_what_is_no_json_is_told_so() {
    let node = Node::new();
    node.dauer("ps").is(0);
    let socket = node.path("run/dauer.sock");
    let post = |headers: &str, body: &[u8]| {
        let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        Answer::ask(stream, "POST", "/v1/jobs", headers, body)
    };
    let answer = post("x-request-id: build-7\r\n", b"{");
    assert_eq!(answer.status, 400);
    assert!(
        answer.head.contains("x-request-id: build-7"),
        "{}",
        answer.head
    );
    assert!(
        answer
            .head
            .contains("content-type: application/problem+json"),
        "{}",
        answer.head
    );
    assert_eq!(answer.json()["instance"], "build-7");
    let answer = post("content-type: application/xml\r\n", b"<job/>");
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (415, &"unsupported_media_type".into())
    );
    let answer = post("", &vec![b' '; 5 << 20]);
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (413, &"too_large".into())
    );
    let answer = Answer::get(&socket, "/v1/nowhere", "");
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (404, &"not_found".into())
    );
    let stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
    let answer = Answer::ask(stream, "PUT", "/v1/jobs", "", b"");
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (405, &"method_not_allowed".into())
    );
}
