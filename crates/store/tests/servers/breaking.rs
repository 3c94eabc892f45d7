//! A proxy between a store and its server, that breaks connections where a test says so.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Which way a message goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// What the store asks.
    There,
    /// What the server answers.
    Back,
}

/// What the proxy does to the messages that pass. A message is what one read of a connection gives.
#[derive(Debug, Default)]
struct Faults {
    /// Every so many messages of a way the connection is cut instead of passing one; 0: never.
    cut_there: AtomicU64,
    cut_back: AtomicU64,
    /// Each answer comes so much later, in milliseconds.
    delay_ms: AtomicU64,
    passed_there: AtomicU64,
    passed_back: AtomicU64,
    cuts: AtomicU64,
}

/// Lives as long as its process.
pub(crate) struct Proxy {
    port: u16,
    faults: Arc<Faults>,
}

impl Proxy {
    /// Passes everything to this port of this machine.
    pub(crate) fn to(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let faults = Arc::new(Faults::default());
        let of_all = Arc::clone(&faults);
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                // A server that is down is a connection that ends at once.
                let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else {
                    continue;
                };
                for (way, from, to) in [
                    (Way::There, &client, &server),
                    (Way::Back, &server, &client),
                ] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    from.set_nodelay(true).unwrap();
                    let faults = Arc::clone(&of_all);
                    std::thread::spawn(move || pass(way, from, to, &faults));
                }
            }
        });
        Self { port, faults }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// From now on every `every`-th message of this way is lost with its connection; 0: none.
    pub(crate) fn cut(&self, way: Way, every: u64) {
        let of_way = match way {
            Way::There => &self.faults.cut_there,
            Way::Back => &self.faults.cut_back,
        };
        of_way.store(every, Ordering::SeqCst);
    }

    /// From now on each answer comes so much later.
    pub(crate) fn delay(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap();
        self.faults.delay_ms.store(ms, Ordering::SeqCst);
    }

    /// How many connections were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.faults.cuts.load(Ordering::SeqCst)
    }
}

fn pass(way: Way, mut from: TcpStream, mut to: TcpStream, faults: &Faults) {
    let mut message = vec![0; 64 << 10];
    while let Ok(length) = from.read(&mut message) {
        let (every, passed) = match way {
            Way::There => (&faults.cut_there, &faults.passed_there),
            Way::Back => (&faults.cut_back, &faults.passed_back),
        };
        let number = passed.fetch_add(1, Ordering::SeqCst) + 1;
        let every = every.load(Ordering::SeqCst);
        if length > 0 && every > 0 && number.is_multiple_of(every) {
            faults.cuts.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if way == Way::Back {
            std::thread::sleep(Duration::from_millis(
                faults.delay_ms.load(Ordering::SeqCst),
            ));
        }
        if length == 0 || to.write_all(&message[..length]).is_err() {
            break;
        }
    }
    // Either may be gone already.
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
