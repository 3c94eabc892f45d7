//! Programs run beside the job.

mod inside;

use dauer_wire::guest::{FromGuest, Scope, Signal, Stream, ToGuest, WINDOW_BYTES, WindowSize};
use inside::{Inside, code, command, sh, signal, text};

/// A job that stays until it is told to end.
fn idle() -> Inside {
    Inside::run(sh("exec sleep 1000"))
}

fn end_job(inside: &mut Inside) {
    inside.say(ToGuest::Signal {
        session: 0,
        signal: Signal {
            signal: libc::SIGTERM,
            scope: Scope::Main,
        },
    });
    assert_eq!(inside.exited(0), signal(libc::SIGTERM));
}

#[test]
fn a_session_has_its_own_streams_and_exit() {
    let mut inside = idle();
    let mut command = sh("read line; echo out $line $DAUER_JOB_ID; echo err >&2; exit 5");
    command.stdin = true;
    inside.exec(1, command);
    inside.say(ToGuest::Input {
        session: 1,
        bytes: b"in\n".to_vec(),
    });
    let (outputs, status) = inside.output_to_end(1);
    assert_eq!(text(&outputs, Stream::Stdout), "out in job-1\n");
    assert_eq!(
        (&*text(&outputs, Stream::Stderr), status),
        ("err\n", code(5))
    );
    end_job(&mut inside);
    inside.end();
}

#[test]
fn the_end_of_input_is_passed_on() {
    let mut inside = idle();
    let mut cat = command(&["cat"]);
    cat.stdin = true;
    inside.exec(1, cat);
    inside.say(ToGuest::Input {
        session: 1,
        bytes: b"all".to_vec(),
    });
    inside.say(ToGuest::Input {
        session: 1,
        bytes: Vec::new(),
    });
    let (outputs, status) = inside.output_to_end(1);
    assert_eq!((&*text(&outputs, Stream::Stdout), status), ("all", code(0)));
}

#[test]
fn what_cannot_start_fails_alone() {
    let mut inside = idle();
    inside.say(ToGuest::Exec {
        session: 1,
        command: command(&["no-such-program"]),
    });
    assert_eq!(inside.start_failure(1).code, 127);
    inside.exec(2, command(&["true"]));
    assert_eq!(inside.exited(2), code(0));
    end_job(&mut inside);
}

#[test]
fn a_slow_reader_stops_its_own_session_only() {
    let mut inside = idle();
    inside.exec(1, command(&["cat", "/dev/zero"]));
    // All that the window allows, and not a byte reported as consumed.
    let mut under_way = 0;
    while under_way < WINDOW_BYTES {
        under_way += output_bytes(&mut inside, 1);
    }
    assert_eq!(under_way, WINDOW_BYTES, "the window is kept to the byte");
    for session in 2..5 {
        inside.exec(session, sh("head -c 3000000 /dev/zero; echo done >&2"));
        let (outputs, status) = inside.output_to_end(session);
        assert_eq!(
            (outputs[&(Stream::Stdout as u8)].len(), status),
            (3_000_000, code(0))
        );
    }
    inside.say(ToGuest::Consumed {
        session: 1,
        bytes: 1000,
    });
    assert_eq!(output_bytes(&mut inside, 1), 1000);
    inside.say(ToGuest::Close { session: 1 });
    end_job(&mut inside);
}

fn output_bytes(inside: &mut Inside, of: u64) -> usize {
    inside.wait(|message| match message {
        FromGuest::Output { session, bytes, .. } if *session == of => Some(bytes.len()),
        _ => None,
    })
}

#[test]
fn a_closed_session_is_hung_up_and_then_ended_by_force() {
    let mut inside = idle();
    inside.exec(
        1,
        sh("trap '' HUP; : stubborn; echo up; while :; do sleep 0.01; done"),
    );
    inside.output_until(1, "up\n");
    inside.say(ToGuest::Close { session: 1 });
    // Gone within the grace, as seen by another session; a sleep inside of it only paces the looking.
    inside.exec(2, sh("while grep -q 'stub[b]orn' /proc/[0-9]*/cmdline 2>/dev/null; do sleep 0.05; done; echo gone"));
    let (outputs, _) = inside.output_to_end(2);
    assert_eq!(text(&outputs, Stream::Stdout), "gone\n");
    end_job(&mut inside);
    inside.assert_silent(1);
}

#[test]
fn a_terminal_session_ends_when_it_is_told() {
    let mut inside = idle();
    let mut shell = command(&["sh"]);
    shell.stdin = true;
    shell.tty = Some(WindowSize {
        rows: 5,
        columns: 50,
    });
    inside.exec(9, shell);
    inside.say(ToGuest::Input {
        session: 9,
        bytes: b"stty size; exit 4\n".to_vec(),
    });
    let (outputs, status) = inside.output_to_end(9);
    assert!(text(&outputs, Stream::Tty).contains("5 50"));
    assert_eq!(status, code(4));
}

#[test]
fn a_session_ends_though_something_keeps_its_output_open() {
    let mut inside = idle();
    inside.exec(1, sh("sleep 1000 & yes & echo end; exit 6"));
    let (outputs, status) = inside.output_to_end(1);
    assert!(text(&outputs, Stream::Stdout).contains("end\n"));
    assert_eq!(status, code(6));
    end_job(&mut inside);
}

#[test]
fn the_end_of_the_job_ends_sessions_and_tells_of_them_first() {
    let mut inside = idle();
    inside.exec(1, sh("echo up; exec sleep 1000"));
    inside.output_until(1, "up\n");
    inside.say(ToGuest::Signal {
        session: 0,
        signal: Signal {
            signal: libc::SIGTERM,
            scope: Scope::Main,
        },
    });
    assert_eq!(inside.exited(1), signal(libc::SIGKILL));
    assert_eq!(inside.exited(0), signal(libc::SIGTERM));
    inside.end();
}

#[test]
fn many_short_sessions_leave_nothing_behind() {
    let mut inside = idle();
    let before = open_descriptors(&mut inside, 1000);
    for session in 1..=200 {
        inside.say(ToGuest::Exec {
            session,
            command: sh("echo $$; exit 1"),
        });
    }
    for session in 1..=200 {
        assert_eq!(inside.output_to_end(session).1, code(1));
    }
    let after = open_descriptors(&mut inside, 1001);
    // The last one may still be closing its four.
    assert!(
        after <= before + 4,
        "{before} descriptors were open, and now {after}"
    );
    end_job(&mut inside);
}

/// The descriptors of the agent, as a session sees them.
fn open_descriptors(inside: &mut Inside, session: u64) -> usize {
    inside.exec(session, sh("ls /proc/1/fd | wc -l"));
    let (outputs, _) = inside.output_to_end(session);
    text(&outputs, Stream::Stdout).trim().parse().unwrap()
}
