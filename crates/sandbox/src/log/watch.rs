//! Tells readers that a file grew: one inotify instance and one thread for the whole process, because a user has few instances and any
//! number of readers.

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Mutex, OnceLock, PoisonError};
use tokio::sync::watch;

struct Watcher {
    watches: Watches,
    files: Mutex<HashMap<WatchDescriptor, Watched>>,
}

struct Watched {
    changes: watch::Sender<u64>,
    readers: usize,
}

/// One reader's interest in one file.
#[derive(Debug)]
pub(super) struct Watch {
    descriptor: WatchDescriptor,
    changes: watch::Receiver<u64>,
}

impl Watcher {
    /// The one of this process; not bound to any runtime, so that it outlives each.
    fn get() -> io::Result<&'static Self> {
        static WATCHER: OnceLock<Result<Watcher, io::ErrorKind>> = OnceLock::new();
        static THREAD: OnceLock<Result<(), io::ErrorKind>> = OnceLock::new();
        let mut started = None;
        let watcher = WATCHER.get_or_init(|| {
            let inotify = Inotify::init().map_err(|e| e.kind())?;
            let watches = inotify.watches();
            started = Some(inotify);
            Ok(Self {
                watches,
                files: Mutex::new(HashMap::new()),
            })
        });
        let watcher = watcher.as_ref().map_err(|kind| io::Error::from(*kind))?;
        if let Some(inotify) = started {
            let thread = std::thread::Builder::new()
                .name("log-watch".into())
                .stack_size(64 << 10);
            let spawned = thread
                .spawn(|| watcher.run(inotify))
                .map(drop)
                .map_err(|e| e.kind());
            THREAD.get_or_init(|| spawned)
        } else {
            THREAD.wait()
        }
        .map_err(io::Error::from)?;
        Ok(watcher)
    }

    fn files(&self) -> std::sync::MutexGuard<'_, HashMap<WatchDescriptor, Watched>> {
        // The map is whole between any two statements, so a panic elsewhere does not spoil it.
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut inotify: Inotify) {
        let mut buffer = [0; 4096];
        loop {
            let events = match inotify.read_events_blocking(&mut buffer) {
                Ok(events) => events,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                // Reading an open inotify descriptor into a large enough buffer has no other failure.
                Err(e) => panic!("inotify: {e}"),
            };
            let files = self.files();
            for event in events {
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    files.values().for_each(Watched::changed);
                } else if let Some(watched) = files.get(&event.wd) {
                    watched.changed();
                }
            }
        }
    }
}

impl Watched {
    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

impl Watch {
    /// From now on every write to the file is noticed.
    pub(super) fn new(path: &Path) -> io::Result<Self> {
        let watcher = Watcher::get()?;
        // Under the lock: another reader's end must not remove the watch that this one is about to share.
        let mut files = watcher.files();
        let descriptor = watcher.watches.clone().add(path, WatchMask::MODIFY)?;
        let watched = files.entry(descriptor.clone()).or_insert_with(|| Watched {
            changes: watch::channel(0).0,
            readers: 0,
        });
        watched.readers += 1;
        Ok(Self {
            descriptor,
            changes: watched.changes.subscribe(),
        })
    }

    /// What was written before this call is no news any more.
    pub(super) fn reset(&mut self) {
        self.changes.mark_unchanged();
    }

    /// Waits for a write since the last [`Watch::reset`]. Cancel safe.
    pub(super) async fn changed(&mut self) {
        // The sender lives as long as a reader does.
        let _ = self.changes.changed().await;
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let Ok(watcher) = Watcher::get() else { return };
        let mut files = watcher.files();
        let Some(watched) = files.get_mut(&self.descriptor) else {
            return;
        };
        watched.readers -= 1;
        if watched.readers == 0 {
            files.remove(&self.descriptor);
            // Fails where the file is deleted: the kernel has removed the watch then.
            let _ = watcher.watches.clone().remove(self.descriptor.clone());
        }
    }
}
