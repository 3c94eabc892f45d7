//! Standard input, read by a thread of its own: a read from a terminal cannot be taken back.

use bytes::Bytes;
use futures_util::Stream;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Mutex, mpsc};

const PIECE_BYTES: usize = 64 << 10;

/// What was typed or piped, in pieces; it goes on after a broken connection with the next piece.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pieces: Arc<Mutex<mpsc::Receiver<io::Result<Bytes>>>>,
    taken: Arc<AtomicBool>,
}

impl Input {
    /// Starts to read.
    pub(crate) fn start() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        // Not joined: it may wait for a key for ever, and ends with the process.
        std::thread::spawn(move || read_all(&sender));
        Self {
            pieces: Arc::new(Mutex::new(receiver)),
            taken: Arc::default(),
        }
    }

    /// The next piece; `None` at the end of the input.
    pub(crate) async fn next(&self) -> Option<io::Result<Bytes>> {
        let piece = self.pieces.lock().await.recv().await;
        self.taken.fetch_or(piece.is_some(), Ordering::Relaxed);
        piece
    }

    /// Whether anything was taken since the last time this was asked.
    pub(crate) fn was_taken(&self) -> bool {
        self.taken.swap(false, Ordering::Relaxed)
    }

    /// The pieces from here on.
    pub(crate) fn stream(&self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        futures_util::stream::unfold(self.clone(), |input| async move {
            let piece = input.next().await?;
            Some((piece, input))
        })
    }
}

fn read_all(sender: &mpsc::Sender<io::Result<Bytes>>) {
    let mut stdin = io::stdin().lock();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let piece = match stdin.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => Ok(Bytes::copy_from_slice(&buffer[..length])),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => Err(error),
        };
        let failed = piece.is_err();
        // Nobody takes input any more: the job has ended.
        if sender.blocking_send(piece).is_err() || failed {
            return;
        }
    }
}
