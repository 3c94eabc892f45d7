//! Follows an image while a tool writes it: sends it to the disk and digests it, so that little is left to wait for at its end.

use super::digest::{Digests, Running};
use crate::Error;
use std::collections::HashMap;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks. An image of any size takes some tens of milliseconds.
const PAUSE: Duration = Duration::from_millis(2);

/// Read at once; small enough to stay in a core's cache.
const READ_BYTES: usize = 128 << 10;

/// At work until [`Follow::finish`], or until it is dropped.
pub(crate) struct Follow {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<Digests>>,
}

impl Follow {
    /// Begins with whatever appears in this folder. Files whose name `grows` are only ever added to: they are digested on the way.
    pub(crate) fn of(folder: &Path, grows: fn(&str) -> bool) -> Result<Self, Error> {
        let (end, ended) = channel();
        let folder = folder.to_owned();
        let body = move || {
            let mut files = HashMap::new();
            while ended.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                look(&folder, &mut files, grows);
            }
            look(&folder, &mut files, grows);
            let digested = files.into_iter().filter_map(|(name, file)| {
                Some((name.to_str()?.to_owned(), file.digest?.finish()))
            });
            digested.collect()
        };
        let thread = std::thread::Builder::new()
            .name("follow".into())
            .stack_size(256 << 10);
        let thread = thread.spawn(body).map_err(Error::io("start a thread"))?;
        Ok(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }

    /// The tool has written everything: digests by file name.
    pub(crate) fn finish(mut self) -> Digests {
        self.join()
    }

    fn join(&mut self) -> Digests {
        drop(self.end.take());
        let Some(thread) = self.thread.take() else {
            return Digests::new();
        };
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        // The image was given up.
        let _ = self.join();
    }
}

/// One file on its way.
struct Followed {
    file: File,
    /// Up to here it was sent to the disk.
    sent: u64,
    /// `None` for what may be written anywhere, and where reading failed: those are read again when all is there.
    digest: Option<Running>,
}

/// Takes what was added to each file since the last look.
fn look(folder: &Path, files: &mut HashMap<PathBuf, Followed>, grows: fn(&str) -> bool) {
    for name in crate::files::names(folder).unwrap_or_default() {
        let digest = grows(&name).then(Running::default);
        let key = PathBuf::from(&name);
        if !files.contains_key(&key)
            && let Ok(file) = File::open(folder.join(&name))
        {
            let sent = 0;
            files.insert(key, Followed { file, sent, digest });
        }
    }
    for followed in files.values_mut() {
        let length = followed.file.metadata().map_or(0, |meta| meta.len());
        if length > followed.sent {
            let (from, bytes) = (
                followed.sent.cast_signed(),
                (length - followed.sent).cast_signed(),
            );
            // Only a hint: what the kernel does not begin now, the fsync at the end does.
            // SAFETY: a valid descriptor.
            unsafe {
                libc::sync_file_range(
                    followed.file.as_raw_fd(),
                    from,
                    bytes,
                    libc::SYNC_FILE_RANGE_WRITE,
                )
            };
            followed.sent = length;
        }
        followed.digest_to(length);
    }
}

impl Followed {
    fn digest_to(&mut self, length: u64) {
        let Some(digest) = &mut self.digest else {
            return;
        };
        let mut buffer = [0; READ_BYTES];
        while digest.bytes() < length {
            let wanted = usize::try_from(length - digest.bytes())
                .unwrap_or(READ_BYTES)
                .min(READ_BYTES);
            match self.file.read_at(&mut buffer[..wanted], digest.bytes()) {
                Ok(0) | Err(_) => {
                    self.digest = None;
                    return;
                }
                Ok(read) => digest.update(&buffer[..read]),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest;
    use super::*;
    use std::io::Write;

    #[test]
    fn a_growing_file_has_its_digest_when_it_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let follow = Follow::of(folder.path(), |name| name.starts_with("pages")).unwrap();
        let path = folder.path().join("pages-1.img");
        let mut pages = File::create(&path).unwrap();
        for number in 0..200_u32 {
            let portion = vec![number as u8; 70_001];
            pages.write_all(&portion).unwrap();
        }
        std::fs::write(folder.path().join("core.img"), b"not followed").unwrap();
        let known = follow.finish();
        assert_eq!(known.keys().collect::<Vec<_>>(), ["pages-1.img"]);
        assert_eq!(known["pages-1.img"], digest::of_file(&path).unwrap());
    }
}
