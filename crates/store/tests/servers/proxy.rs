//! A way to a server that loses connections: it passes the messages of PostgreSQL's protocol one by one, and cuts where it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;

/// The way. It is gone with this.
pub(crate) struct Proxy {
    port: u16,
    control: Arc<Control>,
    task: tokio::task::JoinHandle<()>,
}

struct Control {
    /// So many messages pass before every connection is cut; below 0: any number.
    left: AtomicI64,
    /// Set anew with each cut.
    every: AtomicI64,
    cuts: AtomicU64,
    passed: AtomicU64,
    /// Each message of the server is held back so long.
    delay_ms: AtomicU64,
    cut: broadcast::Sender<()>,
}

impl Proxy {
    /// To this server.
    pub(crate) async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let here = listener.local_addr().unwrap().port();
        let control = Arc::new(Control {
            left: AtomicI64::new(-1),
            every: AtomicI64::new(-1),
            cuts: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            delay_ms: AtomicU64::new(0),
            cut: broadcast::channel(16).0,
        });
        let shared = Arc::clone(&control);
        let task = tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let server = SocketAddr::from(([127, 0, 0, 1], port));
                // A server that is down: the client sees its connection end.
                if let Ok(server) = TcpStream::connect(server).await {
                    tokio::spawn(pass(client, server, Arc::clone(&shared)));
                }
            }
        });
        Self {
            port: here,
            control,
            task,
        }
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// After so many more messages, of either side, all connections are cut once; the last message does not arrive.
    pub(crate) fn cut_after(&self, messages: i64) {
        self.control.every.store(-1, Ordering::SeqCst);
        self.control.left.store(messages, Ordering::SeqCst);
    }

    /// The same again and again.
    pub(crate) fn cut_every(&self, messages: i64) {
        self.control.every.store(messages, Ordering::SeqCst);
        self.control.left.store(messages, Ordering::SeqCst);
    }

    /// Messages of the server are held back so long.
    pub(crate) fn delay(&self, delay: Duration) {
        let delay = u64::try_from(delay.as_millis()).unwrap();
        self.control.delay_ms.store(delay, Ordering::SeqCst);
    }

    /// How often connections were cut.
    pub(crate) fn cuts(&self) -> u64 {
        self.control.cuts.load(Ordering::SeqCst)
    }

    /// How many messages have passed.
    pub(crate) fn passed(&self) -> u64 {
        self.control.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Control {
    /// Whether this message arrives.
    fn lets_pass(&self) -> bool {
        self.passed.fetch_add(1, Ordering::SeqCst);
        if self.left.load(Ordering::SeqCst) < 0 {
            return true;
        }
        if self.left.fetch_sub(1, Ordering::SeqCst) > 0 {
            return true;
        }
        self.cuts.fetch_add(1, Ordering::SeqCst);
        let every = self.every.load(Ordering::SeqCst);
        self.left.store(every, Ordering::SeqCst);
        // There is at least the one that asks.
        self.cut.send(()).unwrap();
        false
    }
}

/// Until one side ends, or it is cut.
async fn pass(client: TcpStream, server: TcpStream, control: Arc<Control>) {
    let mut cut = control.cut.subscribe();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        _ = cut.recv() => {}
        _ = one_way(from_client, to_server, &control, true) => {}
        _ = one_way(from_server, to_client, &control, false) => {}
    }
}

async fn one_way(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    control: &Control,
    mut begins: bool,
) -> std::io::Result<()> {
    let is_client = begins;
    loop {
        // A client's first message has no letter before its length.
        let mut message = Vec::new();
        if !begins {
            message.push(from.read_u8().await?);
        }
        begins = false;
        let length = from.read_u32().await?;
        message.extend(length.to_be_bytes());
        let rest = usize::try_from(length).unwrap().saturating_sub(4);
        let start = message.len();
        message.resize(start + rest, 0);
        from.read_exact(&mut message[start..]).await?;
        let delay = control.delay_ms.load(Ordering::SeqCst);
        if delay > 0 && !is_client {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        if !control.lets_pass() {
            return Ok(());
        }
        to.write_all(&message).await?;
    }
}
