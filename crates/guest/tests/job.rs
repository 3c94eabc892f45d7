//! The job: how it starts, ends, speaks and is spoken to.

mod inside;

use dauer_wire::guest::{
    Command, FromGuest, Scope, Signal, Stream, ToGuest, WINDOW_BYTES, WindowSize,
};
use inside::{Inside, code, command, scratch, sh, signal, text, write_program};

/// Runs a job to its end: its raw output, what came in frames, how it ended.
fn run(command: Command) -> (String, String, dauer_wire::guest::ExitStatus) {
    let mut inside = Inside::run(command);
    let (outputs, status) = inside.output_to_end(0);
    (inside.end(), text(&outputs, Stream::Stderr), status)
}

fn failure(command: Command) -> (i32, String) {
    let mut inside = Inside::boot();
    inside.say_start(command, false);
    let failure = inside.start_failure(0);
    assert_eq!(inside.next(), None, "a sandbox without a job ends");
    (failure.code, failure.message)
}

#[test]
fn output_goes_raw_errors_in_frames_and_the_code_comes_last() {
    let (stdout, stderr, status) = run(sh("echo out; echo err >&2; exit 7"));
    assert_eq!((&*stdout, &*stderr, status), ("out\n", "err\n", code(7)));
}

#[test]
fn a_megabyte_of_errors_written_at_the_end_is_not_cut() {
    let (_, stderr, status) = run(sh("head -c 1000000 /dev/zero | tr '\\0' x >&2"));
    assert_eq!((stderr.len(), status), (1_000_000, code(0)));
}

#[test]
fn death_by_signal_is_told_as_such() {
    assert_eq!(run(sh("kill -9 $$")).2, signal(9));
    assert_eq!(
        run(sh("kill -PIPE $$")).2,
        signal(13),
        "the agent's own ignored signals are not inherited"
    );
}

#[test]
fn what_cannot_start_says_why_as_a_shell_would() {
    let folder = scratch("start");
    write_program(&folder.join("plain"), "no program", 0o644);
    write_program(&folder.join("odd"), "neither script nor elf", 0o755);
    write_program(&folder.join("lost"), "#!/not/there\n", 0o755);
    let at = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let with = |argv: &str, change: fn(&mut Command)| {
        let mut command = command(&[argv]);
        change(&mut command);
        command
    };
    for (command, code, says) in [
        (
            command(&["no-such-program"]),
            127,
            "no-such-program: not found in the sandbox",
        ),
        (
            command(&["/no/such"]),
            127,
            "/no/such: not found in the sandbox",
        ),
        (command(&[&at("lost")]), 127, "interpreter"),
        (command(&[&at("plain")]), 126, "not executable"),
        (command(&[&at("odd")]), 126, "not a program"),
        (command(&["/"]), 126, "not executable"),
        (command(&[]), 125, "no command"),
        (
            with("true", |command| command.workdir = Some("/no/where".into())),
            125,
            "workdir /no/where is not there",
        ),
        (
            with("true", |command| command.user = Some("nobody-such".into())),
            125,
            "nobody-such",
        ),
        (with("a\0b", |_| {}), 125, "zero byte"),
    ] {
        let argv = command.argv.clone();
        let (found, message) = failure(command);
        assert_eq!(found, code, "{argv:?}: {message}");
        assert!(
            message.contains(says) && message.lines().count() == 1,
            "{argv:?}: {message}"
        );
    }
}

#[test]
fn a_program_is_found_in_the_path_of_its_own_environment() {
    let folder = scratch("path");
    write_program(&folder.join("mine"), "#!/bin/sh\necho found $0 $1\n", 0o755);
    let mut command = command(&["mine", "it"]);
    command
        .env
        .insert("PATH".into(), format!("/no/such:{}:/bin", folder.display()));
    assert_eq!(
        run(command).0,
        format!("found {} it\n", folder.join("mine").display())
    );
}

#[test]
fn the_environment_is_the_given_one_and_cannot_hide_the_api() {
    let mut command = command(&["env"]);
    for (name, value) in [
        ("A", "b=c\nd"),
        ("DAUER_API", "http://evil"),
        ("DAUER_JOB_ID", "other"),
        ("HOME", "/h"),
    ] {
        command.env.insert(name.into(), value.into());
    }
    let stdout = run(command).0;
    for line in [
        "A=b=c\nd\n",
        "DAUER_API=http://127.0.0.1:4717\n",
        "DAUER_JOB_ID=job-1\n",
        "HOME=/h\n",
        "USER=root\n",
    ] {
        assert!(stdout.contains(line), "{line:?} in {stdout}");
    }
    assert!(
        !stdout.contains("evil") && !stdout.contains("other"),
        "{stdout}"
    );
}

#[test]
fn a_child_gets_three_streams_and_a_session_of_its_own() {
    let (stdout, _, _) = run(sh(
        "ls /proc/self/fd | tr '\\n' ' '; readlink /proc/self/fd/0; cut -d' ' -f5,6 /proc/$$/stat; echo $$; pwd",
    ));
    let lines: Vec<&str> = stdout.lines().collect();
    assert_eq!(lines[0], "0 1 2 3 /dev/null", "3 is the listing's own");
    assert_eq!(
        lines[1],
        format!("{0} {0}", lines[2]),
        "it leads its group and its session"
    );
    assert_eq!(lines[3], "/");
}

#[test]
fn a_user_has_its_ids_and_groups() {
    // SAFETY: always sound.
    if unsafe { libc::geteuid() } != 0 {
        return; // A user namespace of one user has no second one to become.
    }
    let mut command = sh("id -u; id -g; id -G; touch /var/x 2>/dev/null || echo denied");
    command.user = Some("4711:4712".into());
    assert_eq!(run(command).0, "4711\n4712\n4712\ndenied\n");
}

#[test]
fn orphans_are_collected() {
    // The grandchild loses its parent, ends, and must not stay as a zombie.
    let line = "sh -c 'sleep 0 & exec true'; \
                for try in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do \
                grep -l '^State:.Z' /proc/[0-9]*/status 2>/dev/null >/dev/null || { echo clean; exit; }; sleep 0.05; done; echo zombies";
    assert_eq!(run(sh(line)).0, "clean\n");
}

#[test]
fn the_end_of_the_job_does_not_wait_for_what_it_left_behind() {
    let (stdout, stderr, status) = run(sh(
        "(trap '' TERM HUP; while :; do echo noise >&2; done) & sleep 1000 & echo last; exit 3",
    ));
    assert_eq!((&*stdout, status), ("last\n", code(3)));
    assert!(stderr.lines().all(|line| line == "noise"), "whole lines");
}

#[test]
fn ten_megabytes_of_input_pass_through_the_window() {
    let copy = scratch("input").join("copy");
    let mut command = sh(&format!("exec cat > {}", copy.display()));
    command.stdin = true;
    let mut inside = Inside::run(command);
    let data: Vec<u8> = (0..10_000_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    feed(&mut inside, &data);
    inside.say(ToGuest::Input {
        session: 0,
        bytes: Vec::new(),
    });
    assert_eq!(inside.exited(0), code(0));
    assert!(
        std::fs::read(copy).unwrap() == data,
        "every byte arrived, in order"
    );
    inside.end();
}

/// Sends input as a shim does: never more under way than the window.
fn feed(inside: &mut Inside, data: &[u8]) {
    let mut under_way = 0;
    for chunk in data.chunks(60_000) {
        while under_way + chunk.len() > WINDOW_BYTES {
            under_way -= consumed(inside);
        }
        inside.say(ToGuest::Input {
            session: 0,
            bytes: chunk.to_vec(),
        });
        under_way += chunk.len();
    }
    while under_way > 0 {
        under_way -= consumed(inside);
    }
}

fn consumed(inside: &mut Inside) -> usize {
    inside.wait(|message| match message {
        FromGuest::Consumed { session: 0, bytes } => Some(*bytes as usize),
        _ => None,
    })
}

#[test]
fn input_that_nobody_reads_is_consumed_all_the_same() {
    let mut command = sh("exec <&-; echo closed >&2; sleep 1000");
    command.stdin = true;
    let mut inside = Inside::run(command);
    inside.output_until(0, "closed");
    feed(&mut inside, &vec![b'x'; 3 * WINDOW_BYTES]);
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
fn signals_reach_whom_they_are_for() {
    let line = "trap 'echo main >&2' USR1; trap 'echo all >&2' USR2; \
                (trap 'echo child >&2' USR1 USR2; echo ready >&2; while :; do sleep 0.01; done) & \
                setsid sh -c 'trap \"echo other >&2\" USR1 USR2; echo ready >&2; while :; do sleep 0.01; done' & \
                while :; do sleep 0.01; done";
    let mut inside = Inside::run(sh(line));
    let seen = inside.output_until(0, "ready\n");
    if seen.matches("ready").count() < 2 {
        inside.output_until(0, "ready\n");
    }
    let send = |inside: &mut Inside, signal, scope| {
        inside.say(ToGuest::Signal {
            session: 0,
            signal: Signal { signal, scope },
        })
    };
    send(&mut inside, libc::SIGUSR1, Scope::Main);
    assert_eq!(inside.output_until(0, "main\n"), "main\n");
    send(&mut inside, libc::SIGUSR2, Scope::All);
    let mut seen = String::new();
    while !["all", "child", "other"]
        .iter()
        .all(|who| seen.contains(who))
    {
        seen += &inside.output_until(0, "\n");
    }
    send(&mut inside, libc::SIGTERM, Scope::Group);
    assert_eq!(inside.exited(0), signal(libc::SIGTERM));
}

#[test]
fn a_terminal_has_a_size_echoes_and_interrupts() {
    let mut command = sh(
        "trap 'stty size; echo resized' WINCH; tty; test -t 2 && stty size; read line; echo got $line; \
                          while :; do sleep 0.01; done",
    );
    command.tty = Some(WindowSize {
        rows: 33,
        columns: 99,
    });
    command.stdin = true;
    let mut inside = Inside::run(command);
    let greeting = inside.output_until(0, "33 99");
    assert!(greeting.contains("/dev/pts/"), "{greeting}");
    inside.say(ToGuest::Input {
        session: 0,
        bytes: b"hello\n".to_vec(),
    });
    assert!(
        inside.output_until(0, "got hello").contains("hello\r\n"),
        "input is echoed"
    );
    inside.say(ToGuest::Resize {
        session: 0,
        size: WindowSize {
            rows: 10,
            columns: 20,
        },
    });
    assert!(inside.output_until(0, "resized").contains("10 20"));
    inside.say(ToGuest::Input {
        session: 0,
        bytes: vec![3],
    });
    assert_eq!(inside.exited(0), signal(libc::SIGINT));
}

#[test]
fn the_last_words_on_a_terminal_are_not_lost() {
    let mut command = sh("head -c 200000 /dev/zero | tr '\\0' x; echo end");
    command.tty = Some(WindowSize::default());
    let (outputs, status) = Inside::run(command).output_to_end(0);
    let output = text(&outputs, Stream::Tty);
    assert_eq!((output.len(), status), (200_000 + "end\r\n".len(), code(0)));
    assert!(output.ends_with("xend\r\n"));
}

#[test]
fn a_sandbox_does_not_outlive_its_shim() {
    let mut inside = Inside::run(sh("trap '' TERM HUP; echo up >&2; sleep 1000 & wait"));
    inside.output_until(0, "up");
    inside.hang_up();
    assert_eq!(inside.next(), None);
    assert_eq!(inside.wait_for_sandbox(), Some(1));
}

#[test]
fn outside_a_sandbox_the_agent_refuses_to_run() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_dauer-guest"))
        .arg("init")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("pid 1"));
}
