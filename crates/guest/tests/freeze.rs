//! Holding still and going on, in the same incarnation and in a new one.

mod inside;

use dauer_wire::guest::{FromGuest, Stream, ToGuest};
use inside::{Inside, answer, code, command, has, scratch, sh, text};

/// A request of the job that stays open until it is answered.
const ASK: &str = "curl -s $DAUER_API/v1/self";

#[test]
fn nothing_is_said_between_quiesced_and_resume() {
    let fifo = scratch("still").join("fifo");
    let line = format!(
        "mkfifo {0}; echo ready >&2; read x < {0}; echo woken >&2; echo raw",
        fifo.display()
    );
    let mut inside = Inside::run(sh(&line));
    inside.output_until(0, "ready");
    inside.quiesce();
    // The job goes on (here nobody froze it), speaks and ends; the agent keeps all of it to itself.
    std::fs::write(&fifo, "go\n").unwrap();
    inside.say(ToGuest::Quiesce);
    assert!(
        matches!(inside.next(), Some(FromGuest::Quiesced(_))),
        "the second answer is the next frame"
    );
    inside.resume(1);
    let (outputs, status) = inside.output_to_end(0);
    assert_eq!(
        (&*text(&outputs, Stream::Stderr), status),
        ("woken\n", code(0))
    );
    assert_eq!(inside.end(), "raw\n");
}

#[test]
fn a_new_incarnation_sends_an_open_request_again_under_its_number() {
    if !has("curl") {
        return;
    }
    let mut inside = Inside::run(sh(ASK));
    let (id, first) = inside.request();
    for generation in [2, 3] {
        inside.quiesce();
        inside.resume(generation);
        assert_eq!(inside.request(), (id, first.clone()));
    }
    inside.respond(id, answer(200, "once"));
    // A late second answer changes nothing.
    inside.respond(id, answer(200, "twice"));
    assert_eq!(inside.exited(0), code(0));
    assert_eq!(inside.end(), "once");
}

#[test]
fn the_same_incarnation_sends_nothing_again() {
    if !has("curl") {
        return;
    }
    let mut inside = Inside::run(sh(&format!("{ASK}; {ASK}")));
    let (first, _) = inside.request();
    inside.quiesce();
    inside.resume(1);
    inside.respond(first, answer(200, "one "));
    let (second, _) = inside.request();
    assert_ne!(
        first, second,
        "the next request is the next one, not the first again"
    );
    inside.respond(second, answer(200, "two"));
    assert_eq!(inside.exited(0), code(0));
    assert_eq!(inside.end(), "one two");
}

#[test]
fn a_request_made_while_held_is_sent_once() {
    if !has("curl") {
        return;
    }
    let fifo = scratch("held").join("fifo");
    let line = format!(
        "mkfifo {0}; echo ready >&2; read x < {0}; {ASK}",
        fifo.display()
    );
    let mut inside = Inside::run(sh(&line));
    inside.output_until(0, "ready");
    inside.quiesce();
    std::fs::write(&fifo, "go\n").unwrap();
    inside.resume(2);
    let (id, _) = inside.request();
    inside.respond(id, answer(200, "ok"));
    assert_eq!(inside.exited(0), code(0));
    assert_eq!(inside.end(), "ok");
}

#[test]
fn an_answered_request_is_not_sent_again() {
    if !has("curl") {
        return;
    }
    let mut inside = Inside::run(sh(&format!("{ASK}; echo answered >&2; sleep 1000")));
    let (id, _) = inside.request();
    inside.respond(id, answer(200, "ok"));
    inside.output_until(0, "answered");
    inside.quiesce();
    inside.resume(2);
    inside.exec(1, command(&["true"]));
    assert_eq!(inside.exited(1), code(0));
    inside.assert_no_request();
}

#[test]
fn sessions_live_on_in_the_original_and_end_in_a_copy() {
    let mut inside = Inside::run(sh("sleep 1000"));
    let mut cat = command(&["cat"]);
    cat.stdin = true;
    inside.exec(1, cat);
    let echo = |inside: &mut Inside, word: &str| {
        inside.say(ToGuest::Input {
            session: 1,
            bytes: word.into(),
        });
        assert_eq!(inside.output_until(1, word), word);
    };
    echo(&mut inside, "before");
    inside.quiesce();
    inside.resume(1);
    echo(&mut inside, "after");
    inside.quiesce();
    inside.resume(2);
    inside.exec(
        2,
        sh("while grep -qx cat /proc/[0-9]*/comm 2>/dev/null; do sleep 0.02; done; echo gone"),
    );
    assert_eq!(text(&inside.output_to_end(2).0, Stream::Stdout), "gone\n");
    inside.assert_silent(1);
}

#[test]
fn what_the_shim_says_while_held_is_done_afterwards() {
    let mut inside = Inside::run(sh("sleep 1000"));
    inside.quiesce();
    inside.say(ToGuest::Exec {
        session: 1,
        command: command(&["no-such-program"]),
    });
    inside.say(ToGuest::Exec {
        session: 2,
        command: command(&["true"]),
    });
    inside.resume(2);
    assert_eq!(inside.start_failure(1).code, 127);
    inside.started(2);
    assert_eq!(inside.exited(2), code(0));
}

#[test]
fn open_files_without_a_name_are_reported_unless_they_are_in_memory() {
    let folder = scratch("unlinked");
    let file = folder.join("lost").display().to_string();
    let odd = folder.join("odd (deleted)").display().to_string();
    let shared = format!("/dev/shm/dauer-guest-test-{}", std::process::id());
    let line = format!(
        "exec 5>{file} 6>{shared} 7>'{odd}'; rm {file} {shared}; echo ready >&2; exec sleep 1000"
    );
    let mut inside = Inside::run(sh(&line));
    inside.output_until(0, "ready");
    let found = inside.quiesce().unlinked_files;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].starts_with("pid ") && found[0].ends_with(&format!(": {file}")),
        "{found:?}"
    );
}
