//! A job's stream of events: whole and not doubled, however often it is cut.

mod http;
mod node;

use http::{Answer, Event};
use node::Node;

/// Small frames, frames of bytes that are no text, characters cut in two, and one frame that is longer than any piece of a stream.
const JOB: &str = r#"
for i in 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19; do
    printf 'line %s \303' $i; printf '\244\n'
    head -c 30000 /dev/urandom
    echo "problem $i" >&2
done
head -c 900000 /dev/urandom > noise
head -c 400000 /dev/zero | tr '\0' '\1' | cat noise -
printf '\342\202'
exit 3"#;

/// Numbers that look random and are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

/// What came of a stream over all its connections.
#[derive(Default)]
struct Received {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    seqs: Vec<u64>,
    ends: Vec<Event>,
    last_id: String,
}

impl Received {
    fn take(&mut self, event: Event) {
        match event.name.as_str() {
            "stdout" => self.stdout.extend(event.output()),
            "stderr" => self.stderr.extend(event.output()),
            "event" => self.seqs.push(event.json()["seq"].as_u64().unwrap()),
            "end" => self.ends.push(event.clone()),
            other => panic!("an event {other}"),
        }
        self.last_id = event.id;
    }

    fn headers(&self) -> String {
        if self.last_id.is_empty() {
            String::new()
        } else {
            format!("last-event-id: {}\r\n", self.last_id)
        }
    }
}

#[test]
fn a_stream_cut_a_hundred_times_is_the_log_byte_for_byte_and_ends_once() {
    let node = Node::new();
    node.detached("noisy", JOB);
    let socket = node.path("run/dauer.sock");
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let mut received = Received::default();
    let (mut cuts, mut kills) = (0, 0);
    while received.ends.is_empty() {
        let mut answer = Answer::get(&socket, "/v1/jobs/noisy/stream", &received.headers());
        assert_eq!(answer.status, 200);
        assert!(answer.head.contains("text/event-stream"), "{}", answer.head);
        // Less than the longest event at times, which then comes again as a whole.
        let mut room = 1 + numbers.below(45_000);
        if cuts % 25 == 24 {
            // In the middle of the answer.
            node.kill_daemon();
            node.dauer("ps").is(0);
            kills += 1;
        }
        while let Some(event) = answer.event(&mut room) {
            received.take(event);
        }
        cuts += 1;
    }
    assert!(cuts > 100, "only {cuts} connections");
    assert!(kills >= 4, "only {kills} kills");
    let logs = node.dauer("logs noisy").is(0);
    assert!(logs.bytes.len() > 1_800_000, "{}", logs.bytes.len());
    assert!(
        received.stdout == logs.bytes,
        "{} bytes of {}",
        received.stdout.len(),
        logs.bytes.len()
    );
    assert_eq!(String::from_utf8(received.stderr).unwrap(), logs.stderr);
    let events = node.dauer("events --json noisy").is(0).stdout;
    let seqs: Vec<u64> = events
        .lines()
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["seq"]
                .as_u64()
                .unwrap()
        })
        .collect();
    // What follows the end of a job is not part of its stream.
    assert_eq!(received.seqs, seqs[..received.seqs.len()]);
    assert!(
        received.seqs.len() + 1 >= seqs.len(),
        "{:?} of {seqs:?}",
        received.seqs
    );
    assert_eq!(received.ends.len(), 1);
    assert!(
        received.ends[0].data.starts_with("[ERROR] exit_code"),
        "{:?}",
        received.ends
    );
    let after_the_end = Answer::get(
        &socket,
        "/v1/jobs/noisy/stream",
        &format!("last-event-id: {}\r\n", received.last_id),
    );
    assert_eq!(after_the_end.status, 204);
}

fn whole(node: &Node, job: &str, query: &str) -> Vec<Event> {
    let mut answer = Answer::get(
        &node.path("run/dauer.sock"),
        &format!("/v1/jobs/{job}/stream{query}"),
        "",
    );
    assert_eq!(answer.status, 200);
    std::iter::from_fn(|| answer.event(&mut usize::MAX.clone())).collect()
}

#[test]
fn a_stream_ends_with_how_the_job_ended() {
    let node = Node::new();
    node.detached("fine", "echo one; echo two >&2");
    let events = whole(&node, "fine", "");
    let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
    assert_eq!(names.iter().filter(|name| **name == "end").count(), 1);
    assert_eq!(names.last(), Some(&"end"));
    assert!(
        names.contains(&"stdout") && names.contains(&"stderr") && names.contains(&"event"),
        "{names:?}"
    );
    assert_eq!(events.last().unwrap().data, "[DONE]");

    node.detached("stopped", "echo up; sleep 1000");
    node.wait_until_started("stopped");
    let mut answer = Answer::get(&node.path("run/dauer.sock"), "/v1/jobs/stopped/stream", "");
    let mut room = usize::MAX;
    while answer.event(&mut room).unwrap().name != "stdout" {}
    node.dauer("stop --grace 0s stopped").is(0);
    let rest: Vec<Event> = std::iter::from_fn(|| answer.event(&mut room)).collect();
    assert_eq!(rest.last().unwrap().data, "[CANCELLED]");

    node.detached("gone", "echo up; sleep 1000");
    let mut answer = Answer::get(&node.path("run/dauer.sock"), "/v1/jobs/gone/stream", "");
    node.dauer("rm -f gone").is(0);
    let rest: Vec<Event> = std::iter::from_fn(|| answer.event(&mut room)).collect();
    assert!(
        rest.last().unwrap().data.starts_with("[ERROR] "),
        "{:?}",
        rest.last()
    );
}

#[test]
fn a_place_that_is_none_is_refused_and_an_offset_goes_to_the_next_frame() {
    let node = Node::new();
    node.detached("two", "echo one; sleep 0.1; echo two");
    node.dauer("wait two").is(0);
    let outputs = |query: &str| -> Vec<u8> {
        let events = whole(&node, "two", query).into_iter();
        events
            .filter(|event| event.name == "stdout")
            .flat_map(|event| event.output())
            .collect()
    };
    assert_eq!(outputs(""), b"one\ntwo\n");
    assert_eq!(outputs("?since=1"), b"two\n");
    assert_eq!(outputs("?since=999999"), b"");
    let refused = Answer::get(
        &node.path("run/dauer.sock"),
        "/v1/jobs/two/stream?since=yesterday",
        "",
    );
    assert_eq!(refused.status, 400);
    assert_eq!(refused.json()["code"], "invalid");
}

#[test]
fn the_journal_of_all_jobs_comes_as_events_and_goes_on_where_it_was_cut() {
    let node = Node::new();
    node.script("true").is(0);
    let socket = node.path("run/dauer.sock");
    let accept = "accept: text/event-stream\r\n";
    let mut first = Answer::get(&socket, "/v1/events", accept);
    let one = first.event(&mut usize::MAX.clone()).unwrap();
    assert_eq!(
        (one.name.as_str(), &one.json()["event"]),
        ("event", &"submitted".into())
    );
    drop(first);
    let mut second = Answer::get(
        &socket,
        "/v1/events",
        &format!("{accept}last-event-id: {}\r\n", one.id),
    );
    let next = second.event(&mut usize::MAX.clone()).unwrap();
    assert_eq!(next.json()["seq"], one.json()["seq"].as_u64().unwrap() + 1);
    // Of a job that does not exist yet.
    node.detached("later", "true");
    let later = std::iter::from_fn(|| second.event(&mut usize::MAX.clone()));
    let id = node.inspect("later")["id"].clone();
    assert!(
        later
            .map(|event| event.json())
            .any(|event| event["job"] == id)
    );
}
