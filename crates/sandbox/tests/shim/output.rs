//! The job's output, byte for byte.

use crate::fixture::{code, with_each_driver};

#[test]
fn fifty_megabytes_arrive_byte_for_byte() {
    with_each_driver(false, async |fixture| {
        // 50,000,000 bytes whose place can be told from their value.
        let spec = fixture.spec(&["/usr/bin/python3", "-c", "import sys\nfor n in range(5_000_000 // 1000): sys.stdout.write(''.join('%09d\\n' % (n * 1000 + k) for k in range(1000)))"]);
        let started = std::time::Instant::now();
        assert_eq!(code(&fixture.launch(&spec).await.ended().await), Some(0));
        println!(
            "  {:.0} MB/s with python and start",
            50.0 / started.elapsed().as_secs_f64()
        );
        let bytes = fixture.output(&spec, 1).await;
        assert_eq!(bytes.len(), 50_000_000);
        for (number, line) in bytes.chunks(10).enumerate() {
            assert_eq!(line, format!("{number:09}\n").as_bytes());
        }
    });
}

#[test]
fn both_streams_are_whole_and_tell_their_time() {
    with_each_driver(false, async |fixture| {
        let before = now();
        let spec = fixture
            .shell("i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done");
        assert_eq!(code(&fixture.launch(&spec).await.ended().await), Some(0));
        for (stream, word) in [(1, "out"), (2, "err")] {
            let wanted: String = (0..500).map(|i| format!("{word} {i}\n")).collect();
            assert_eq!(
                String::from_utf8(fixture.output(&spec, stream).await).unwrap(),
                wanted
            );
        }
        for frame in fixture.frames(&spec).await {
            let at = i64::from_le_bytes(frame.payload[..8].try_into().unwrap());
            assert!((before..=now()).contains(&at));
        }
    });
}

#[test]
fn a_terminal_is_one_stream_and_has_a_size() {
    with_each_driver(false, async |fixture| {
        let mut spec =
            fixture.shell("test -t 0 && test -t 1 && test -t 2 && stty size; echo err >&2");
        spec.tty = true;
        assert_eq!(code(&fixture.launch(&spec).await.ended().await), Some(0));
        assert_eq!(
            String::from_utf8(fixture.output(&spec, 3).await).unwrap(),
            "24 80\r\nerr\r\n"
        );
    });
}

fn now() -> i64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    i64::try_from(since.as_millis()).unwrap()
}
