//! Standard input, read by a thread of its own: a read from a terminal cannot be taken back.

use bytes::Bytes;
use futures_util::Stream;
use std::io::{self, Read as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{Mutex, Notify, mpsc};

const PIECE_BYTES: usize = 64 << 10;

/// What was typed or piped, in pieces; it goes on after a broken connection with the next piece.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pieces: Arc<Mutex<mpsc::Receiver<io::Result<Bytes>>>>,
    taken: Arc<AtomicBool>,
    left: Arc<Notify>,
}

impl Input {
    /// Starts to read.
    pub(crate) fn start() -> Self {
        Self::start_if(true, false)
    }

    /// Starts to read, if that is wanted; with `leaving` the keys ctrl-p ctrl-q end it.
    pub(crate) fn start_if(wanted: bool, leaving: bool) -> Self {
        let (sender, receiver) = mpsc::channel(1);
        let left = Arc::new(Notify::new());
        if wanted {
            let keys = leaving.then(|| (Keys::default(), Arc::clone(&left)));
            // Not joined: it may wait for a key for ever, and ends with the process.
            std::thread::spawn(move || read_all(&sender, keys));
        }
        Self {
            pieces: Arc::new(Mutex::new(receiver)),
            taken: Arc::default(),
            left,
        }
    }

    /// Told when the user typed the keys that leave.
    pub(crate) fn left(&self) -> Arc<Notify> {
        Arc::clone(&self.left)
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

/// Finds ctrl-p ctrl-q in what is typed. A ctrl-p alone is held back until the next key.
#[derive(Debug, Default)]
struct Keys {
    held: bool,
}

impl Keys {
    const FIRST: u8 = 0x10;
    const SECOND: u8 = 0x11;

    /// What goes on to the job; `None` where the keys were typed.
    fn pass(&mut self, typed: &[u8]) -> Option<Vec<u8>> {
        let mut out = Vec::with_capacity(typed.len() + 1);
        for &byte in typed {
            match (self.held, byte) {
                (true, Self::SECOND) => return None,
                (false, Self::FIRST) => self.held = true,
                // The first of two is a key like any other; the second may begin again.
                (true, Self::FIRST) => out.push(Self::FIRST),
                (true, _) => {
                    out.extend([Self::FIRST, byte]);
                    self.held = false;
                }
                (false, _) => out.push(byte),
            }
        }
        Some(out)
    }
}

fn read_all(sender: &mpsc::Sender<io::Result<Bytes>>, mut keys: Option<(Keys, Arc<Notify>)>) {
    let mut stdin = io::stdin().lock();
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let piece = match stdin.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => match &mut keys {
                None => Ok(Bytes::copy_from_slice(&buffer[..length])),
                Some((keys, left)) => match keys.pass(&buffer[..length]) {
                    Some(passed) if passed.is_empty() => continue,
                    Some(passed) => Ok(passed.into()),
                    None => {
                        left.notify_one();
                        // Its end would be the end of the job's input: the pieces stop without one.
                        loop {
                            std::thread::park();
                        }
                    }
                },
            },
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_that_leave_are_found_also_in_two_pieces_and_nothing_else_is_lost() {
        let mut keys = Keys::default();
        assert_eq!(keys.pass(b"ab").as_deref(), Some(&b"ab"[..]));
        assert_eq!(keys.pass(b"c\x10").as_deref(), Some(&b"c"[..]));
        assert_eq!(keys.pass(b"d\x11").as_deref(), Some(&b"\x10d\x11"[..]));
        assert_eq!(keys.pass(b"\x10\x10").as_deref(), Some(&b"\x10"[..]));
        assert_eq!(keys.pass(b"\x11"), None);
    }
}
