//! Restores take turns: a restore keeps the processors busy, and many at once would all be done late.
//!
//! A turn is a lock on one of a few files. It needs no daemon, and the kernel gives it back whatever becomes of who holds it.

use crate::{Error, Layout};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;

/// Held while a sandbox is restored.
pub(super) struct Turn {
    _lock: Flock<File>,
}

/// How many go on at once: each keeps about two processors busy.
fn places() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u32::try_from(processors / 2).unwrap_or(u32::MAX).max(1)
}

/// Waits for a turn. Without one (where the files cannot be made) a restore is only slower, so there is no error.
pub(super) fn take(layout: &Layout) -> Option<Turn> {
    match wait_for(layout, places()) {
        Ok(turn) => Some(turn),
        Err(error) => {
            eprintln!("shim: no turn for the restore: {error}");
            None
        }
    }
}

fn wait_for(layout: &Layout, places: u32) -> Result<Turn, Error> {
    let own = std::process::id() % places;
    for place in (0..places).map(|n| (own + n) % places) {
        let file = open(layout, place)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(Turn { _lock: lock }),
            Err((_, Errno::EWOULDBLOCK)) => {}
            Err((_, errno)) => return Err(Error::os("lock a turn to restore")(errno)),
        }
    }
    loop {
        match Flock::lock(open(layout, own)?, FlockArg::LockExclusive) {
            Ok(lock) => return Ok(Turn { _lock: lock }),
            Err((_, Errno::EINTR)) => {}
            Err((_, errno)) => return Err(Error::os("wait for a turn to restore")(errno)),
        }
    }
}

fn open(layout: &Layout, place: u32) -> Result<File, Error> {
    let path = layout.restore_turn(place);
    let mut options = File::options();
    options.create(true).truncate(false).write(true);
    options
        .open(&path)
        .map_err(Error::io(format!("open {}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_when_all_places_are_taken_waits_until_one_is_given_back() {
        let folder = tempfile::tempdir().unwrap();
        let layout = Layout {
            data: folder.path().to_owned(),
            run: folder.path().to_owned(),
        };
        let (first, second) = (wait_for(&layout, 2).unwrap(), wait_for(&layout, 2).unwrap());
        let (tell, told) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn({
            let layout = layout.clone();
            move || {
                let turn = wait_for(&layout, 2);
                tell.send(()).unwrap();
                turn.map(drop)
            }
        });
        for place in 0..2 {
            let again = Flock::lock(
                open(&layout, place).unwrap(),
                FlockArg::LockExclusiveNonblock,
            );
            assert!(matches!(again, Err((_, Errno::EWOULDBLOCK))), "{place}");
        }
        // Both are taken, so it cannot have one.
        assert!(told.try_recv().is_err());
        drop((first, second));
        told.recv().unwrap();
        waiting.join().unwrap().unwrap();
    }
}
