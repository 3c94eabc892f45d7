//! Input of the job, and programs beside it.

use crate::fixture::{code, patient, with_each_driver};
use bytes::Bytes;
use dauer_sandbox::{Error, ExecSession};
use dauer_wire::frame::Frame;
use dauer_wire::guest::{Command, ExitStatus, StartFailure};
use dauer_wire::http::{ResizeCall, exec_kind};

#[test]
fn ten_megabytes_of_input_arrive_and_end() {
    with_each_driver(false, async |fixture| {
        let mut spec = fixture.shell("md5sum | cut -c1-32");
        spec.stdin = true;
        let mut job = fixture.launch(&spec).await;
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        let bytes: Vec<u8> = (0..10_000_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let (first, second) = bytes.split_at(4_000_001);
        patient(stdin.write(Bytes::copy_from_slice(first)))
            .await
            .unwrap();
        // A connection that ends without saying so is no end of the input: the next one goes on.
        drop(stdin);
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        patient(stdin.write(Bytes::copy_from_slice(second)))
            .await
            .unwrap();
        patient(stdin.close()).await.unwrap();
        assert_eq!(code(&job.ended().await), Some(0));
        let wanted = std::process::Command::new("md5sum")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let mut wanted = wanted.unwrap();
        std::io::Write::write_all(&mut wanted.stdin.take().unwrap(), &bytes).unwrap();
        let wanted = wanted.wait_with_output().unwrap();
        assert_eq!(
            fixture.text(&spec).await.trim(),
            std::str::from_utf8(&wanted.stdout[..32]).unwrap()
        );
    });
}

#[test]
fn a_job_that_does_not_read_holds_the_writer_back() {
    with_each_driver(false, async |fixture| {
        let mut spec = fixture.shell("sleep 1000");
        spec.stdin = true;
        let mut job = fixture.launch(&spec).await;
        job.running().await;
        let mut stdin = patient(job.link.stdin()).await.unwrap();
        let piece = Bytes::from(vec![b'x'; 64 << 10]);
        let mut taken = 0;
        while tokio::time::timeout(
            std::time::Duration::from_millis(500),
            stdin.write(piece.clone()),
        )
        .await
        .is_ok()
        {
            taken += piece.len();
            assert!(taken < 4 << 20, "nobody holds it back");
        }
        // The channel is not blocked by it.
        let (status, output, _) =
            run(patient(job.link.exec(command("echo fine"))).await.unwrap()).await;
        assert_eq!((status, output.as_slice()), (Ok(0), b"fine\n".as_slice()));
        patient(job.link.destroy()).await.unwrap();
        assert!(matches!(
            patient(stdin.write(piece)).await,
            Err(Error::Gone)
        ));
    });
}

#[test]
fn programs_beside_the_job_have_their_own_streams_and_status() {
    with_each_driver(false, async |fixture| {
        let spec = fixture.shell("sleep 1000");
        let job = fixture.launch(&spec).await;
        let session = patient(job.link.exec(command("echo out; echo err >&2; exit 4")))
            .await
            .unwrap();
        assert_eq!(
            run(session).await,
            (Ok(4), b"out\n".to_vec(), b"err\n".to_vec())
        );
        let mut cat = command("cat; exit 6");
        cat.stdin = true;
        let mut session = patient(job.link.exec(cat)).await.unwrap();
        let bytes = vec![b'y'; 3_000_000];
        let (mut input, output) = {
            session
                .send(Frame::new(exec_kind::INPUT, 0, b"first ".to_vec()))
                .await
                .unwrap();
            session.split()
        };
        let sent = tokio::spawn(async move {
            input
                .send(Frame::new(exec_kind::INPUT, 0, bytes))
                .await
                .unwrap();
            input
                .send(Frame::new(exec_kind::INPUT, 0, Vec::new()))
                .await
                .unwrap();
            input
        });
        let (status, output, _) = collect(output).await;
        assert_eq!((status, output.len()), (Ok(6), 3_000_006));
        drop(sent.await.unwrap());
        let session = patient(job.link.exec(Command {
            argv: vec!["/no/such".into()],
            ..Default::default()
        }))
        .await
        .unwrap();
        assert_eq!(run(session).await.0, Err(127));
    });
}

#[test]
fn a_session_whose_client_only_stops_sending_still_ends_well() {
    with_each_driver(false, async |fixture| {
        let job = fixture.launch(&fixture.shell("sleep 1000")).await;
        let mut count = command("cat | wc -c");
        count.stdin = true;
        let (mut input, output) = patient(job.link.exec(count)).await.unwrap().split();
        input
            .send(Frame::new(exec_kind::INPUT, 0, vec![0; 1000]))
            .await
            .unwrap();
        drop(input);
        assert_eq!(
            collect(output).await,
            (Ok(0), b"1000\n".to_vec(), Vec::new())
        );
    });
}

#[test]
fn a_client_that_is_gone_takes_its_program_with_it_and_a_slow_one_holds_up_nobody() {
    with_each_driver(false, async |fixture| {
        let job = fixture.launch(&fixture.shell("sleep 1000")).await;
        let mark = format!("9{:06}", std::process::id());
        let gone = patient(job.link.exec(command(&format!("sleep {mark}"))))
            .await
            .unwrap();
        let mut slow = patient(job.link.exec(command("yes"))).await.unwrap();
        assert_eq!(patient(slow.recv()).await.unwrap().kind, exec_kind::OUTPUT);
        drop(gone);
        // It is gone once nothing of that name is left; the check itself is another program.
        let look = format!(
            "while ls -d /proc/[0-9]* | while read p; do tr '\\0' '+' < $p/cmdline; echo; done 2>/dev/null | grep -q '^sleep+{mark}+'; do sleep 0.02; done; echo gone"
        );
        let (status, output, _) = run(patient(job.link.exec(command(&look))).await.unwrap()).await;
        assert_eq!((status, output.as_slice()), (Ok(0), b"gone\n".as_slice()));
    });
}

#[test]
fn a_terminal_session_follows_its_size_and_takes_signals() {
    with_each_driver(false, async |fixture| {
        let job = fixture.launch(&fixture.shell("sleep 1000")).await;
        // Without a trap for WINCH: gVisor changes the size but sends no signal by itself.
        let script = "trap 'echo usr1; exit 8' USR1; echo ready; until [ \"$(stty size)\" = '33 44' ]; do sleep 0.05; done; echo resized; while :; do sleep 0.05; done";
        let mut shell = command(script);
        shell.tty = Some(dauer_wire::guest::WindowSize {
            rows: 10,
            columns: 20,
        });
        let mut session = patient(job.link.exec(shell)).await.unwrap();
        assert_eq!(line(&mut session).await, "ready");
        session
            .send(Frame::json(
                exec_kind::RESIZE,
                0,
                &ResizeCall {
                    rows: 33,
                    columns: 44,
                },
            ))
            .await
            .unwrap();
        assert_eq!(line(&mut session).await, "resized");
        session
            .send(Frame::json(exec_kind::SIGNAL, 0, &libc::SIGUSR1))
            .await
            .unwrap();
        // The shell may first say what became of the `sleep` that was hit as well: the signal goes to the group.
        while !line(&mut session).await.ends_with("usr1") {}
        let last = patient(session.recv()).await.unwrap();
        assert_eq!(
            (last.kind, last.parse::<ExitStatus>().unwrap().code),
            (exec_kind::EXITED, Some(8))
        );
    });
}

/// What ends with the next line on the terminal.
async fn line(session: &mut ExecSession) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n") {
        let frame = patient(session.recv()).await.unwrap();
        assert_eq!(
            (frame.kind, frame.id),
            (exec_kind::OUTPUT, 3),
            "after {text:?}: {}",
            String::from_utf8_lossy(&frame.payload)
        );
        text.extend(frame.payload);
    }
    String::from_utf8(text).unwrap().trim_end().to_owned()
}

fn command(script: &str) -> Command {
    Command {
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        env: std::collections::BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        ..Default::default()
    }
}

type Ended = (Result<i32, i32>, Vec<u8>, Vec<u8>);

async fn run(session: ExecSession) -> Ended {
    let (_input, output) = session.split();
    collect(output).await
}

/// Exit code (or the code of a failure to start), standard output, standard error.
async fn collect(mut output: dauer_sandbox::ExecOutput) -> Ended {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    loop {
        let frame = patient(output.recv()).await.expect("a last frame");
        match (frame.kind, frame.id) {
            (exec_kind::OUTPUT, 1) => out.extend(frame.payload),
            (exec_kind::OUTPUT, 2) => err.extend(frame.payload),
            (exec_kind::EXITED, _) => {
                return (
                    Ok(frame.parse::<ExitStatus>().unwrap().code.unwrap_or(-1)),
                    out,
                    err,
                );
            }
            (exec_kind::FAILED, _) => {
                return (Err(frame.parse::<StartFailure>().unwrap().code), out, err);
            }
            other => panic!("{other:?}"),
        }
    }
}
