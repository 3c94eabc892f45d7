//! A log is whole and not doubled, wherever its connection is cut.

use dauer_client::{Client, Host, LogItem};
use dauer_wire::frame::Frame;
use dauer_wire::http::{JobView, Marker, stream_kind};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::path::Path;

/// The log as frames, each with the offset after it; offsets are positions in this very byte string.
fn log() -> Vec<u8> {
    let mut bytes = Vec::new();
    for text in ["first line\n", "", "second, a bit longer than the first\n"] {
        let mut payload = 1_700_000_000_000_i64.to_le_bytes().to_vec();
        payload.push(1);
        payload.extend_from_slice(text.as_bytes());
        append(&mut bytes, stream_kind::OUTPUT, payload);
    }
    let marker = Marker::Woken { generation: 2 };
    append(
        &mut bytes,
        stream_kind::MARKER,
        serde_json::to_vec(&marker).unwrap(),
    );
    let mut payload = 0_i64.to_le_bytes().to_vec();
    payload.extend_from_slice(b"\x02an error\n");
    append(&mut bytes, stream_kind::OUTPUT, payload);
    append(&mut bytes, stream_kind::KEEPALIVE, Vec::new());
    append(
        &mut bytes,
        stream_kind::END,
        serde_json::to_vec(&ended()).unwrap(),
    );
    bytes
}

fn append(bytes: &mut Vec<u8>, kind: u8, payload: Vec<u8>) {
    let end = bytes.len() + 16 + payload.len();
    Frame::new(kind, end as u64, payload)
        .write_to(bytes)
        .unwrap();
}

fn ended() -> JobView {
    let view = serde_json::json!({
        "id": "j", "name": null, "state": "completed", "operation": null, "argv": ["x"], "driver": "native",
        "image": "host", "attempt": 1, "generation": 1, "restores": 0, "created_at": 0, "started_at": null,
        "finished_at": null, "wake_at": null, "checkpoint": null, "exit_code": 0, "signal": null, "reason": null,
        "message": null, "last_error": null
    });
    serde_json::from_value(view).unwrap()
}

/// Serves the log from `since` on; the first connection is cut after so many bytes.
fn serve(listener: &UnixListener, log: &[u8], cut_after: usize) {
    for connection in 0..2 {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = String::new();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        while !request.ends_with("\r\n\r\n") {
            assert_ne!(reader.read_line(&mut request).unwrap(), 0);
        }
        let since = request
            .split("since=")
            .nth(1)
            .unwrap()
            .split_whitespace()
            .next()
            .unwrap();
        let rest = &log[since.parse::<usize>().unwrap()..];
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .unwrap();
        let sent = if connection == 0 {
            &rest[..cut_after]
        } else {
            rest
        };
        // Chunks of a prime length cross every boundary of a frame in some run.
        for chunk in sent.chunks(7) {
            write!(stream, "{:x}\r\n", chunk.len()).unwrap();
            stream.write_all(chunk).unwrap();
            stream.write_all(b"\r\n").unwrap();
        }
        if connection == 1 || cut_after == log.len() {
            stream.write_all(b"0\r\n\r\n").unwrap();
            return;
        }
    }
}

async fn read(socket: &Path) -> (Vec<u8>, Vec<u8>, usize) {
    let client = Client::new(&Host::Unix(socket.to_owned()));
    let mut stream = client.logs("j", 0, true);
    let (mut stdout, mut stderr, mut markers) = (Vec::new(), Vec::new(), 0);
    while let Some(item) = stream.next().await.unwrap() {
        match item {
            LogItem::Output(output) => match output.stream {
                dauer_wire::guest::Stream::Stderr => stderr.extend_from_slice(&output.bytes),
                _ => stdout.extend_from_slice(&output.bytes),
            },
            LogItem::Marker { .. } => markers += 1,
            LogItem::End { job, .. } => assert_eq!(*job, ended()),
        }
    }
    (stdout, stderr, markers)
}

#[tokio::test]
async fn a_log_cut_at_any_byte_is_whole_and_not_doubled() {
    let log = log();
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("s");
    for cut_after in 0..=log.len() {
        let listener = UnixListener::bind(&socket).unwrap();
        let served = log.clone();
        let server = std::thread::spawn(move || serve(&listener, &served, cut_after));
        let (stdout, stderr, markers) = read(&socket).await;
        assert_eq!(
            stdout, b"first line\nsecond, a bit longer than the first\n",
            "cut after {cut_after}"
        );
        assert_eq!(stderr, b"an error\n", "cut after {cut_after}");
        assert_eq!(markers, 1, "cut after {cut_after}");
        server.join().unwrap();
        std::fs::remove_file(&socket).unwrap();
    }
}

#[tokio::test]
async fn a_daemon_that_is_not_there_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let host = Host::Unix(folder.path().join("none.sock"));
    let error = Client::connect(&host).await.unwrap_err();
    assert!(error.is_disconnect());
    assert!(error.to_string().contains("none.sock"), "{error}");
}
