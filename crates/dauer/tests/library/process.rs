//! What needs processes of their own: one that is killed, and the example that answers HTTP.

use super::{SOON, ended};
use dauer::{Engine, HandlerError, JobId, Spec, Sqlite, State};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Where the store of the process lies that is to be killed.
const FILE: &str = "LIBRARY_TEST_FILE";

/// Not a test of its own: what the process runs that is killed by the one below.
#[tokio::test(flavor = "multi_thread")]
async fn begins_and_is_killed() {
    let Some(file) = std::env::var_os(FILE).map(PathBuf::from) else {
        return;
    };
    let engine = Engine::builder()
        .store(Sqlite::open(file).unwrap())
        .handler("copies", |ctx, (): ()| async move {
            ctx.save(&41).await?;
            println!("begun {}", ctx.id());
            std::future::pending::<Result<(), HandlerError>>().await
        })
        .start()
        .await
        .unwrap();
    engine.submit(Spec::new("copies")).await.unwrap();
    std::future::pending::<()>().await;
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn line_with(child: &mut Child, start: &str) -> String {
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut lines = lines.map(Result::unwrap);
    let found = lines.find_map(|line| {
        let at = line.find(start)?;
        Some(line[at + start.len()..].to_owned())
    });
    found.expect("it says so before it ends")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_killed_process_is_called_again_with_what_it_saved() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jobs.db");
    let id = {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "process::begins_and_is_killed", "--nocapture"])
            .env(FILE, &file)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut child = Killed(child);
        JobId(line_with(&mut child.0, "begun "))
    };
    let engine = Engine::builder()
        .store(Sqlite::open(&file).unwrap())
        .handler("copies", |ctx, (): ()| async move {
            Ok(ctx.saved::<u32>()?.unwrap_or(0) + ctx.attempt() - 1)
        })
        .start()
        .await
        .unwrap();
    let job = engine.job(&id).await.unwrap();
    let done = ended(&engine, &job).await;
    assert_eq!(
        (done.state, done.attempt, done.retries, done.restores),
        (State::Completed, 2, 0, 1)
    );
    assert_eq!(engine.output::<u32>(&id).await.unwrap(), Some(42));
    engine.shutdown(SOON).await;
}

/// One request over a connection of its own; without an end of the body it is read until the other side closes.
fn ask(address: &str, request: &str) -> TcpStream {
    let mut connection = TcpStream::connect(address).unwrap();
    connection.set_read_timeout(Some(SOON)).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    connection
}

fn body(mut connection: TcpStream) -> String {
    let mut text = String::new();
    connection.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains(" 200 "), "{text}");
    body.to_owned()
}

fn create(address: &str, words: &str) -> String {
    let json = format!("{words:?}");
    let length = json.len();
    body(ask(
        address,
        &format!(
            "POST /jobs HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{json}"
        ),
    ))
}

fn get(address: &str, path: &str) -> TcpStream {
    ask(address, &format!("GET {path} HTTP/1.0\r\n\r\n"))
}

#[test]
fn the_example_creates_with_a_post_and_streams_with_a_get() {
    let example = Path::new(env!("CARGO_BIN_EXE_dauer")).with_file_name("examples/stream");
    assert!(
        example.exists(),
        "{} is missing: cargo build --release -p dauer --examples",
        example.display()
    );
    let child = Command::new(example)
        .arg("127.0.0.1:0")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Killed(child);
    let address = line_with(&mut child.0, "http://");

    let id = create(&address, "one two three");
    assert_eq!(
        body(get(&address, &format!("/jobs/{id}"))),
        "one\ntwo\nthree\n[DONE]\n"
    );
    let id = create(&address, "one stop two");
    assert_eq!(
        body(get(&address, &format!("/jobs/{id}"))),
        "one\n[ERROR] it was told to stop\n"
    );

    // A reader that goes away in the middle.
    let id = create(&address, "one wait");
    let mut reader = BufReader::new(get(&address, &format!("/jobs/{id}"))).lines();
    assert!(reader.any(|line| line.unwrap() == "one"));
    assert_eq!(body(get(&address, "/streams")), "1");
    drop(reader);
    let since = Instant::now();
    while body(get(&address, "/streams")) != "0" {
        assert!(since.elapsed() < SOON, "a stream is left");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(body(get(&address, &format!("/jobs/{id}"))), "[CANCELLED]\n");
}
