//! Sends a growing image to the disk while it is still being written, so that little is left to wait for at its end.

use crate::Error;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks. An image of any size takes some tens of milliseconds.
const PAUSE: Duration = Duration::from_millis(4);

/// At work until it is dropped. Only ever a hint to the kernel: what it does not do, the fsync at the end does.
pub(crate) struct WriteOut {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl WriteOut {
    /// Begins with whatever appears in this folder.
    pub(crate) fn of(folder: &Path) -> Result<Self, Error> {
        let (end, ended) = channel();
        let folder = folder.to_owned();
        let body = move || {
            let mut sent = HashMap::new();
            while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                look(&folder, &mut sent);
            }
            look(&folder, &mut sent);
        };
        let thread = std::thread::Builder::new()
            .name("write out".into())
            .stack_size(64 << 10);
        let thread = thread.spawn(body).map_err(Error::io("start a thread"))?;
        Ok(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

impl Drop for WriteOut {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            // A panic in a thread that only gives hints is no reason to fail the checkpoint.
            let _ = thread.join();
        }
    }
}

/// Asks for what was added to each file since the last look.
fn look(folder: &Path, sent: &mut HashMap<PathBuf, (File, u64)>) {
    for name in crate::files::names(folder).unwrap_or_default() {
        let path = folder.join(name);
        if !sent.contains_key(&path)
            && let Ok(file) = File::open(&path)
        {
            sent.insert(path, (file, 0));
        }
    }
    for (file, offset) in sent.values_mut() {
        let length = file.metadata().map_or(0, |meta| meta.len());
        if length > *offset {
            let (from, bytes) = (offset.cast_signed(), (length - *offset).cast_signed());
            // SAFETY: a valid descriptor.
            unsafe {
                libc::sync_file_range(file.as_raw_fd(), from, bytes, libc::SYNC_FILE_RANGE_WRITE)
            };
            *offset = length;
        }
    }
}
