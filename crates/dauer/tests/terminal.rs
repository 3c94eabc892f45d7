//! Terminals from afar: `dauer attach` with its keys, and WebSocket for `attach` and `exec`.

mod http;
mod node;

use http::Answer;
use nix::pty::{OpenptyResult, Winsize, openpty};
use node::{Ended, Node};
use serde_json::{Value, json};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use tungstenite::{Message, WebSocket};

/// A job made over the API, which can have a terminal without one being here.
fn create(node: &Node, job: &Value) -> String {
    node.dauer("ps").is(0);
    let stream = UnixStream::connect(node.path("run/dauer.sock")).unwrap();
    let answer = Answer::ask(stream, "POST", "/v1/jobs", "", job.to_string().as_bytes());
    assert_eq!(answer.status, 201);
    answer.json()["job_id"].as_str().unwrap().to_owned()
}

fn socket(node: &Node, target: &str) -> WebSocket<UnixStream> {
    let stream = UnixStream::connect(node.path("run/dauer.sock")).unwrap();
    tungstenite::client(format!("ws://dauer{target}"), stream)
        .unwrap()
        .0
}

/// Reads until the output of this stream has a text in it.
fn wait_for(socket: &mut WebSocket<UnixStream>, stream: u8, text: &str) {
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains(text) {
        match socket.read().unwrap() {
            Message::Binary(bytes) => {
                assert_eq!(bytes[0], stream);
                seen.extend_from_slice(&bytes[1..]);
            }
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&seen)),
        }
    }
}

/// Reads until something is told, and returns it.
fn told(socket: &mut WebSocket<UnixStream>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

#[test]
fn over_a_websocket_a_job_is_fed_signalled_and_seen_to_end() {
    let node = Node::new();
    let script = "trap 'exit 7' USR1; echo up >&2; while read line; do echo got $line; done; while :; do sleep 0.05; done";
    let job = create(
        &node,
        &json!({"argv": ["sh", "-c", script], "driver": "native", "stdin": true}),
    );
    node.wait_until_started(&job);
    let mut socket = socket(&node, &format!("/v1/jobs/{job}/attach?since=0"));
    wait_for(&mut socket, 2, "up");
    socket.send(Message::Binary("one\n".into())).unwrap();
    wait_for(&mut socket, 1, "got one");
    socket.send(Message::Text("{\"fly\":1}".into())).unwrap();
    assert!(told(&mut socket)["error"].as_str().unwrap().contains("fly"));
    socket.send(Message::Text("\"eof\"".into())).unwrap();
    socket
        .send(Message::Text("{\"signal\":10}".into()))
        .unwrap();
    assert_eq!(told(&mut socket)["exit"]["code"], 7);
    assert!(matches!(socket.read(), Ok(Message::Close(_))));
}

#[test]
fn over_a_websocket_a_program_has_a_terminal_of_the_size_that_is_told() {
    let node = Node::new();
    let job = node.detached("host", "sleep 1000");
    node.wait_until_started(&job);
    let mut socket = socket(&node, "/v1/jobs/host/exec/ws");
    let script = "stty size; read line; stty size; exit 3";
    let call = json!({"argv": ["sh", "-c", script], "tty": [30, 100], "stdin": true});
    socket.send(Message::Text(call.to_string().into())).unwrap();
    wait_for(&mut socket, 3, "30 100");
    socket
        .send(Message::Text(
            "{\"resize\":{\"rows\":11,\"columns\":22}}".into(),
        ))
        .unwrap();
    socket.send(Message::Binary("go\n".into())).unwrap();
    wait_for(&mut socket, 3, "11 22");
    assert_eq!(told(&mut socket)["exit"]["code"], 3);
    let mut other = self::socket(&node, "/v1/jobs/host/exec/ws");
    other.send(Message::Text("{\"argv\":[]}".into())).unwrap();
    assert!(
        told(&mut other)["error"]
            .as_str()
            .unwrap()
            .contains("no command")
    );
    let plain = Answer::get(&node.path("run/dauer.sock"), "/v1/jobs/host/attach", "");
    assert_eq!(
        (plain.status, plain.head.contains("upgrade: websocket")),
        (426, true)
    );
}

#[test]
fn attach_shows_a_terminal_and_leaves_it_alone_with_its_keys() {
    let node = Node::new();
    let job = create(
        &node,
        &json!({"argv": ["sh"], "driver": "native", "tty": true, "stdin": true, "name": "shell"}),
    );
    node.wait_until_started(&job);
    let size = Winsize {
        ws_row: 33,
        ws_col: 77,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let OpenptyResult { master, slave } = openpty(Some(&size), None).unwrap();
    let slave = File::from(slave);
    let mut command = node.command(["attach", "shell"]);
    command.stdin(slave.try_clone().unwrap()).stdout(slave);
    command.stderr(std::process::Stdio::piped());
    let child = command.spawn().unwrap();
    // Ours of the other end has to go, so that the end of the command is the end of what comes.
    drop(command);
    let mut master = File::from(master);
    master
        .write_all(b"stty size; echo sum $((40 + 2))\n")
        .unwrap();
    let mut seen = String::new();
    while !(seen.contains("33 77") && seen.contains("sum 42")) {
        let mut buffer = [0; 4096];
        let length = master.read(&mut buffer).unwrap();
        seen.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    master.write_all(b"\x10\x11").unwrap();
    let ended = Ended::of(child.wait_with_output().unwrap()).is(0);
    assert!(ended.stderr.contains("detached"), "{}", ended.stderr);
    assert_eq!(node.inspect("shell")["state"], "running");
}

#[test]
fn attach_to_what_has_ended_or_has_a_terminal_that_is_not_here_says_what_to_do() {
    let node = Node::new();
    node.detached("ended", "true");
    node.dauer("wait ended").is(0);
    node.dauer("attach ended").is(125).says("dauer logs");
    create(
        &node,
        &json!({"argv": ["sleep", "1000"], "driver": "native", "tty": true, "name": "screen"}),
    );
    node.dauer("attach screen").is(125).says("dauer logs -f");
}
