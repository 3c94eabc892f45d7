//! The log: whole frames from any place on, with a writer at work, after a torn end, on a full disk.

use dauer_core::Timestamp;
use dauer_sandbox::log::{LogWriter, Tail, offset_at};
use dauer_wire::frame::{Frame, HEAD_BYTES};
use dauer_wire::guest::Stream;
use dauer_wire::http::{Marker, stream_kind};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

fn frames(bytes: &[u8]) -> Vec<Frame> {
    let mut reader = bytes;
    std::iter::from_fn(|| Frame::read_from(&mut reader).unwrap()).collect()
}

/// Offsets of all boundaries, and a log with frames of every kind.
fn sample(path: &Path) -> Vec<u64> {
    let mut log = LogWriter::open(path, 0).unwrap();
    let mut boundaries = vec![0];
    for number in 0..40_usize {
        let bytes = vec![number as u8; number * number * 97 % 70_000 + 1];
        match number % 4 {
            3 => log
                .marker(&Marker::Woken {
                    generation: number as u32,
                })
                .unwrap(),
            stream => {
                let stream = Stream::from_number(stream as u8 + 1).unwrap();
                log.output(stream, &bytes, Timestamp(1000 + number as i64 * 10))
                    .unwrap();
            }
        }
        boundaries.push(log.end());
    }
    boundaries
}

#[tokio::test]
async fn frames_carry_the_offset_after_them_and_read_back_as_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let boundaries = sample(&path);
    let mut tail = Tail::open(&path, 0).await.unwrap();
    let mut read = Vec::new();
    while let Some(bytes) = tail.next().await.unwrap() {
        read.extend_from_slice(&bytes);
    }
    assert_eq!(read, std::fs::read(&path).unwrap());
    let frames = frames(&read);
    let ends: Vec<u64> = frames.iter().map(|frame| frame.id).collect();
    assert_eq!(ends, boundaries[1..]);
    assert_eq!(
        frames[2].payload[..9],
        [&1020_i64.to_le_bytes()[..], &[3]].concat()
    );
    assert_eq!(
        frames[7].parse::<Marker>().unwrap(),
        Marker::Woken { generation: 7 }
    );
}

#[tokio::test]
async fn any_offset_leads_to_the_next_boundary() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let boundaries = sample(&path);
    let end = *boundaries.last().unwrap();
    for from in (0..end + 100).step_by(997).chain(
        boundaries
            .iter()
            .flat_map(|&at| [at.saturating_sub(1), at, at + 1]),
    ) {
        let wanted = boundaries
            .iter()
            .copied()
            .find(|at| *at >= from)
            .unwrap_or(end);
        assert_eq!(
            Tail::open(&path, from).await.unwrap().offset(),
            wanted,
            "from {from}"
        );
    }
}

#[tokio::test]
async fn output_that_looks_like_frames_leads_nobody_astray() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let mut log = LogWriter::open(&path, 0).unwrap();
    // A job that has read the source and writes heads of its own.
    let forged = Frame::head(stream_kind::OUTPUT, 1_000_000, 10);
    log.output(Stream::Stdout, &forged.repeat(100), Timestamp(1))
        .unwrap();
    let boundary = log.end();
    log.output(Stream::Stdout, b"after", Timestamp(2)).unwrap();
    for from in 1..boundary {
        assert_eq!(Tail::open(&path, from).await.unwrap().offset(), boundary);
    }
}

#[tokio::test]
async fn a_time_leads_to_the_first_output_at_or_after_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let boundaries = sample(&path);
    let at = |ms| offset_at(&path, Timestamp(ms));
    assert_eq!(at(0).await.unwrap(), 0);
    assert_eq!(at(1010).await.unwrap(), boundaries[1]);
    assert_eq!(at(1011).await.unwrap(), boundaries[2]);
    // Number 3 is a marker, which has no time.
    assert_eq!(at(1021).await.unwrap(), boundaries[4]);
    assert_eq!(at(9999).await.unwrap(), *boundaries.last().unwrap());
}

#[tokio::test]
async fn whatever_a_dying_writer_left_is_cut_at_the_last_whole_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let boundaries = sample(&path);
    let whole = std::fs::read(&path).unwrap();
    let last = boundaries[boundaries.len() - 2];
    for cut in [
        last + 1,
        last + 4,
        last + 15,
        last + 16,
        last + 17,
        whole.len() as u64 - 1,
    ] {
        std::fs::write(&path, &whole[..cut as usize]).unwrap();
        let mut tail = Tail::open(&path, last).await.unwrap();
        assert_eq!(
            tail.next().await.unwrap(),
            None,
            "what is not whole is not shown, cut at {cut}"
        );
        let known = if cut % 2 == 0 { 0 } else { boundaries[5] };
        let mut log = LogWriter::open(&path, known).unwrap();
        assert_eq!(log.end(), last, "cut at {cut}");
        log.output(Stream::Stderr, b"goes on", Timestamp(1))
            .unwrap();
        let bytes = tail.next().await.unwrap().unwrap();
        assert_eq!(&frames(&bytes)[0].payload[9..], b"goes on");
    }
    // Bytes without their head, as when a shim was killed between the two.
    let mut torn = whole[..last as usize].to_vec();
    torn.extend([0; HEAD_BYTES]);
    torn.extend([7; 5000]);
    std::fs::write(&path, &torn).unwrap();
    assert_eq!(LogWriter::open(&path, 0).unwrap().end(), last);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), last);
}

#[test]
fn a_log_shorter_than_what_is_known_of_it_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let boundaries = sample(&path);
    let error = LogWriter::open(&path, boundaries.last().unwrap() + 1).unwrap_err();
    assert!(error.to_string().contains("it was cut"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_sees_every_byte_of_a_fast_writer_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let mut log = LogWriter::open(&path, 0).unwrap();
    const BYTES: usize = 300_000_000;
    let (reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: a valid descriptor.
    unsafe {
        libc::fcntl(
            std::os::fd::AsRawFd::as_raw_fd(&reader),
            libc::F_SETPIPE_SZ,
            1 << 20,
        )
    };
    let job = std::thread::spawn(move || {
        let pattern: Vec<u8> = (0..1_000_003u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
            .collect();
        let mut sent = 0;
        let mut length = 1;
        while sent < BYTES {
            // Pieces of all sizes, so that frames begin and end everywhere in a page.
            length = (length * 7 + 13) % 200_001 + 1;
            let from = sent % pattern.len();
            let to = pattern.len().min(from + length).min(from + BYTES - sent);
            writer.write_all(&pattern[from..to]).unwrap();
            sent += to - from;
        }
        pattern
    });
    let started = std::time::Instant::now();
    let shim = std::thread::spawn(move || {
        let mut taken = 0;
        let mut frames = 0;
        while taken < BYTES {
            let mut fds = [nix::poll::PollFd::new(
                reader.as_fd(),
                nix::poll::PollFlags::POLLIN,
            )];
            nix::poll::poll(&mut fds, nix::poll::PollTimeout::NONE).unwrap();
            taken += log
                .take_from_pipe(reader.as_fd(), Stream::Stdout, Timestamp(1))
                .unwrap();
            frames += 1;
            if frames % 50 == 0 {
                log.output(Stream::Stderr, b"between", Timestamp(2))
                    .unwrap();
            }
        }
        frames
    });
    let mut tail = Tail::open(&path, 0).await.unwrap();
    let mut read = Vec::with_capacity(BYTES);
    let mut next = 0;
    while read.len() < BYTES {
        match tokio::time::timeout(Duration::from_secs(60), tail.next())
            .await
            .unwrap()
            .unwrap()
        {
            Some(bytes) => {
                for frame in frames(&bytes) {
                    next += (HEAD_BYTES + frame.payload.len()) as u64;
                    assert_eq!(frame.id, next);
                    if frame.payload[8] == 1 {
                        read.extend_from_slice(&frame.payload[9..]);
                    } else {
                        assert_eq!(&frame.payload[9..], b"between");
                    }
                }
            }
            None => tokio::time::timeout(Duration::from_secs(60), tail.changed())
                .await
                .unwrap()
                .unwrap(),
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    let pattern = job.join().unwrap();
    let count = shim.join().unwrap();
    println!(
        "{:.0} MB/s through pipe, log and follower; {count} frames",
        BYTES as f64 / 1e6 / seconds
    );
    assert!(
        read.chunks(pattern.len())
            .all(|chunk| chunk == &pattern[..chunk.len()])
    );
}

#[tokio::test]
async fn several_followers_of_one_file_do_not_disturb_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stream");
    let mut log = LogWriter::open(&path, 0).unwrap();
    let mut first = Tail::open(&path, 0).await.unwrap();
    let second = Tail::open(&path, 0).await.unwrap();
    assert_eq!(first.next().await.unwrap(), None);
    drop(second);
    for round in 0..3 {
        log.output(Stream::Stdout, b"x", Timestamp(round)).unwrap();
        tokio::time::timeout(Duration::from_secs(20), first.changed())
            .await
            .unwrap()
            .unwrap();
        assert!(first.next().await.unwrap().is_some());
        assert_eq!(first.next().await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_the_log_goes_on_when_there_is_room() {
    // Below /run, where no sandbox of image `host` sees the mount come and go.
    let Ok(folder) = tempfile::tempdir_in("/run") else {
        println!("skipped: only root can mount a small file system");
        return;
    };
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "none"])
        .arg(folder.path())
        .output()
        .is_ok_and(|output| output.status.success());
    if !mounted {
        println!("skipped: no small file system can be mounted here");
        return;
    }
    struct Unmount<'a>(&'a Path);
    impl Drop for Unmount<'_> {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount")
                .arg("-l")
                .arg(self.0)
                .status();
        }
    }
    let _unmount = Unmount(folder.path());
    let path = folder.path().join("stream");
    let ballast = folder.path().join("ballast");
    std::fs::write(&ballast, vec![0; 1_500_000]).unwrap();
    let mut log = LogWriter::open(&path, 0).unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    // SAFETY: a valid descriptor.
    unsafe {
        libc::fcntl(
            std::os::fd::AsRawFd::as_raw_fd(&reader),
            libc::F_SETPIPE_SZ,
            1 << 20,
        )
    };
    let bytes: Vec<u8> = (0..1_000_000u32).map(|n| (n % 251) as u8).collect();
    writer.write_all(&bytes).unwrap();
    let mut errors = 0;
    let mut taken = 0;
    while taken < bytes.len() {
        match log.take_from_pipe(reader.as_fd(), Stream::Stdout, Timestamp(1)) {
            Ok(more) => taken += more,
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
                assert!(
                    log.output(Stream::Stderr, &[1; 100_000], Timestamp(1))
                        .is_err()
                );
                errors += 1;
                if errors == 3 {
                    std::fs::remove_file(&ballast).unwrap();
                }
                assert!(errors < 4, "there is room now");
            }
        }
    }
    assert_eq!(errors, 3);
    let mut tail = Tail::open(&path, 0).await.unwrap();
    let mut read = Vec::new();
    while let Some(chunk) = tail.next().await.unwrap() {
        frames(&chunk)
            .iter()
            .for_each(|frame| read.extend_from_slice(&frame.payload[9..]));
    }
    assert_eq!(read, bytes);
}
