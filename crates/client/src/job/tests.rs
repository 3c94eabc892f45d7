//! The calls of a job against a runtime API that cuts each connection at every byte.

use super::api;
use super::freeze::{Checkpointed, Status, checkpoint_at};
use super::lock::{lock_at, within};
use super::ready::{Readiness, ready_at};
use super::signal::{Wait, wait_signal_at};
use crate::Error;
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// Where a connection is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Request(usize),
    Answer(usize),
}

/// Longer than every request here.
const REQUEST_BYTES_MAX: usize = 300;

/// One job. What a token names is done once, as by the real thing.
#[derive(Default)]
struct Job {
    /// For each connection, in order.
    cuts: VecDeque<Option<Cut>>,
    answer_bytes: Vec<usize>,
    requests: Vec<(String, Value)>,
    /// Tokens and how often each is still pending.
    checkpoints: BTreeMap<String, u32>,
    locks: BTreeMap<String, String>,
    locks_taken: usize,
    signals: VecDeque<Value>,
    bound: BTreeMap<String, Value>,
    refuses_to_suspend: bool,
    ready_asked: u32,
}

/// A served job.
struct Fake {
    address: String,
    job: Arc<Mutex<Job>>,
    /// Ends with it.
    _server: JoinSet<()>,
}

impl Fake {
    async fn start(job: Job) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let job = Arc::new(Mutex::new(job));
        let mut server = JoinSet::new();
        let served = job.clone();
        server.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(answer(stream, served.clone()));
            }
        });
        Self {
            address,
            job,
            _server: server,
        }
    }

    // Methods, so that a closure that uses them captures the server, too.

    fn at(&self) -> &str {
        &self.address
    }

    fn job(&self) -> std::sync::MutexGuard<'_, Job> {
        self.job.lock().unwrap()
    }
}

async fn answer(mut stream: TcpStream, job: Arc<Mutex<Job>>) {
    let cut = job.lock().unwrap().cuts.pop_front().flatten();
    let mut data = Vec::new();
    let (line, body) = loop {
        if matches!(cut, Some(Cut::Request(bytes)) if data.len() >= bytes) {
            return;
        }
        if let Some(request) = parse(&data) {
            break request;
        }
        if stream.read_buf(&mut data).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let answer = {
        let mut job = job.lock().unwrap();
        let (status, body) = job.route(&line, &body);
        job.requests.push((line, body.clone()));
        let body = if status == 204 {
            String::new()
        } else {
            body.to_string()
        };
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
        );
        job.answer_bytes.push(answer.len());
        answer
    };
    let end = match cut {
        Some(Cut::Answer(bytes)) => bytes,
        Some(Cut::Request(_)) | None => answer.len(),
    };
    // A client that has gone is told nothing.
    let _ = stream.write_all(&answer.as_bytes()[..end]).await;
}

/// The request's first two words and its body, once it is whole.
fn parse(data: &[u8]) -> Option<(String, Value)> {
    let text = std::str::from_utf8(data).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "));
    let length = length.map_or(0, |length| length.parse().unwrap());
    let whole = body.get(..length)?;
    let body = serde_json::from_str(whole).unwrap_or(Value::Null);
    let line = head
        .rsplit_once(" HTTP/1.1")
        .map(|_| head.lines().next())??;
    Some((line.trim_end_matches(" HTTP/1.1").to_owned(), body))
}

impl Job {
    fn route(&mut self, line: &str, body: &Value) -> (u16, Value) {
        let token = body["token"].as_str().unwrap_or_default().to_owned();
        match line {
            "POST /v1/self/checkpoint" => {
                let left = *self.checkpoints.entry(token.clone()).or_insert(1);
                (202, status(&token, left))
            }
            "POST /v1/self/ready" => {
                self.ready_asked += 1;
                let status = ["pending", "restored"][usize::from(self.ready_asked > 1)];
                (200, json!({ "status": status, "generation": 3 }))
            }
            "GET /v1/self" => (200, json!({ "id": "j", "env": { "A": "own" } })),
            "GET /v1/self/params" => (200, json!(123_456_789)),
            "POST /v1/self/locks" => {
                if !self.locks.contains_key(&token) {
                    self.locks_taken += 1;
                }
                self.locks.insert(token.clone(), token.clone());
                (201, json!({ "lock_id": token }))
            }
            "POST /v1/self/signals/wait" => {
                if self.refuses_to_suspend && body["suspend"] == true {
                    return (422, json!({ "code": "unsupported", "detail": "no" }));
                }
                if !self.bound.contains_key(&token)
                    && let Some(signal) = self.signals.pop_front()
                {
                    self.bound.insert(token.clone(), signal);
                }
                match self.bound.get(&token) {
                    Some(payload) => (200, json!({ "status": "signalled", "payload": payload })),
                    None => (200, json!({ "status": "timeout" })),
                }
            }
            _ if line.starts_with("GET /v1/self/checkpoint/") => {
                let token = line.rsplit('/').next().unwrap();
                let left = self.checkpoints.get_mut(token).unwrap();
                *left = left.saturating_sub(1);
                (200, status(token, *left))
            }
            _ => {
                let lock = line.strip_prefix("DELETE /v1/self/locks/").unwrap();
                match self.locks.remove(lock) {
                    Some(_) => (204, Value::Null),
                    None => (404, json!({ "code": "not_found" })),
                }
            }
        }
    }
}

fn status(token: &str, left: u32) -> Value {
    let status = if left > 0 { "pending" } else { "taken" };
    json!({ "token": token, "status": status, "checkpoint": "c1", "message": null, "generation": 1 })
}

/// The same wherever a connection is cut.
async fn everywhere<F>(case: impl Fn(Fake) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let whole = Fake::start(Job::default()).await;
    let seen = whole.job.clone();
    case(whole).await;
    let answers = seen.lock().unwrap().answer_bytes.clone();
    let mut cases = JoinSet::new();
    for (connection, answer_bytes) in answers.into_iter().enumerate() {
        let requests = (0..REQUEST_BYTES_MAX).map(Cut::Request);
        for cut in requests.chain((0..answer_bytes).map(Cut::Answer)) {
            let mut cuts: VecDeque<_> = vec![None; connection].into();
            cuts.push_back(Some(cut));
            let fake = Fake::start(Job {
                cuts,
                ..Job::default()
            })
            .await;
            cases.spawn(case(fake));
            // So many at once.
            if cases.len() >= 64 {
                cases.join_next().await.unwrap().unwrap();
            }
        }
    }
    while let Some(case) = cases.join_next().await {
        case.unwrap();
    }
}

#[tokio::test]
async fn a_checkpoint_is_asked_for_under_one_token() {
    everywhere(|fake| async move {
        let taken = checkpoint_at(fake.at(), None).await.unwrap();
        let expected = Checkpointed {
            status: Status::Taken,
            generation: 1,
            id: Some("c1".into()),
        };
        assert_eq!(taken, expected);
        assert_eq!(fake.job().checkpoints.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_lock_is_taken_once_and_left() {
    everywhere(|fake| async move {
        let lock = lock_at(fake.at().to_owned(), None).await.unwrap();
        within(lock, true, async {}).await.unwrap();
        let job = fake.job();
        assert_eq!((job.locks_taken, job.locks.len()), (1, 0));
    })
    .await;
}

#[tokio::test]
async fn who_is_ready_is_told_so_and_gets_what_is_its_own() {
    everywhere(|fake| async move {
        let ready = ready_at(fake.at()).await.unwrap();
        assert_eq!((ready.status, ready.generation), (Readiness::Restored, 3));
        let own = [("A", "own"), ("DAUER_JOB_ID", "j")];
        let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(ready.env, own.into());
    })
    .await;
}

#[tokio::test]
async fn a_signal_is_handed_out_once() {
    everywhere(|fake| async move {
        let signals = [json!({ "n": 1 }), json!({ "n": 2 })];
        fake.job().signals = signals.into();
        // A name of its own: the turns of this process are all in one place.
        let name = fake.at().to_owned();
        let payload: Value = wait_signal_at(fake.at(), &name, Wait::default())
            .await
            .unwrap();
        assert_eq!(payload["n"], 1);
        assert_eq!(fake.job().signals.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_answer_is_whole() {
    everywhere(|fake| async move {
        let reply = api::get(fake.at(), "/v1/self/params").await.unwrap();
        assert_eq!(reply.json::<u32>().unwrap(), 123_456_789);
    })
    .await;
}

#[tokio::test]
async fn where_nothing_can_be_frozen_a_signal_is_waited_for_awake() {
    let fake = Fake::start(Job {
        refuses_to_suspend: true,
        signals: [json!(7)].into(),
        ..Job::default()
    })
    .await;
    let payload: u8 = wait_signal_at(fake.at(), "awake", Wait::default())
        .await
        .unwrap();
    assert_eq!(payload, 7);
    let timed_out = wait_signal_at::<Value>(fake.at(), "awake", Wait::default()).await;
    assert!(matches!(timed_out, Err(Error::SignalTimeout(name)) if name == "awake"));
}

#[tokio::test]
async fn a_checkpoint_inside_of_a_lock_is_an_error_and_no_deadlock() {
    let fake = Fake::start(Job::default()).await;
    let lock = lock_at(fake.at().to_owned(), None).await.unwrap();
    let inside = async { super::lock::check_none_held() };
    let held = within(lock, true, inside).await.unwrap();
    assert!(matches!(held, Err(Error::LockHeld)));
    assert!(super::lock::check_none_held().is_ok());
}

#[tokio::test]
async fn a_lock_that_nobody_waits_for_any_more_is_left() {
    let fake = Fake::start(Job::default()).await;
    let mut lock = Box::pin(lock_at(fake.at().to_owned(), None));
    let begun = std::future::poll_fn(|cx| Poll::Ready(lock.as_mut().poll(cx).is_pending())).await;
    assert!(begun);
    drop(lock);
    // Its release is a request that comes by itself.
    while fake.job().requests.len() < 2 {
        tokio::task::yield_now().await;
    }
    let job = fake.job();
    assert_eq!((job.locks_taken, job.locks.len()), (1, 0));
}
