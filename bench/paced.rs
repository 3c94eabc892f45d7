//! Asks the same question at a fixed rate over a few connections, and says how long the answers took:
//! `paced ADDRESS:PORT PATH TOKEN RATE SECONDS CONNECTIONS`. Prints `requests p50_us p99_us max_us`.
//!
//! A request counts from the moment at which it was due, so that a stall is seen by every request that it delayed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [address, path, token, rate, seconds, connections] = words.as_slice() else {
        eprintln!("usage: paced ADDRESS:PORT PATH TOKEN RATE SECONDS CONNECTIONS");
        std::process::exit(2);
    };
    let (rate, seconds): (u32, u32) = (number(rate), number(seconds));
    let connections: u32 = number(connections);
    let request =
        format!("GET {path} HTTP/1.1\r\nhost: dauer\r\nauthorization: Bearer {token}\r\n\r\n");
    let begin = Instant::now() + Duration::from_millis(50);
    let step = Duration::from_secs(1) * connections / rate;
    let threads: Vec<_> = (0..connections)
        .map(|index| {
            let (address, request) = (address.clone(), request.clone());
            let first = begin + Duration::from_secs(1) * index / rate;
            let count = rate * seconds / connections;
            std::thread::spawn(move || ask(&address, request.as_bytes(), first, step, count))
        })
        .collect();
    let mut took: Vec<Duration> = threads
        .into_iter()
        .flat_map(|thread| thread.join().expect("a connection failed"))
        .collect();
    took.sort_unstable();
    let at = |part: usize| took[(took.len() - 1) * part / 100].as_micros();
    println!("{} {} {} {}", took.len(), at(50), at(99), at(100));
}

fn number(text: &str) -> u32 {
    text.parse()
        .unwrap_or_else(|_| panic!("{text:?} is not a number"))
}

fn ask(address: &str, request: &[u8], first: Instant, step: Duration, count: u32) -> Vec<Duration> {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_nodelay(true).expect("no delay");
    let mut buffer = vec![0; 64 << 10];
    let mut took = Vec::with_capacity(count as usize);
    for index in 0..count {
        let due = first + step * index;
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        stream.write_all(request).expect("ask");
        read_answer(&mut stream, &mut buffer);
        took.push(due.elapsed());
    }
    took
}

/// Reads one answer, whose length its head says.
fn read_answer(stream: &mut TcpStream, buffer: &mut [u8]) {
    let mut filled = 0;
    loop {
        let read = stream.read(&mut buffer[filled..]).expect("read");
        assert_ne!(read, 0, "the daemon closed the connection");
        filled += read;
        let Some(head_end) = buffer[..filled]
            .windows(4)
            .position(|bytes| bytes == b"\r\n\r\n")
        else {
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..head_end]).to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200"), "{head}");
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| number(length.trim()) as usize);
        if filled >= head_end + 4 + length {
            return;
        }
    }
}
