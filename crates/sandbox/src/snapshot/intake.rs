//! An image file that a tool writes through a pipe: digested while it comes, and written past the page cache.
//!
//! A tool that writes to the file itself leaves nothing in memory of it, so that the digest would read all of it back from the disk.

use super::digest::{Digested, Running};
use crate::Error;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use nix::fcntl::{FallocateFlags, FcntlArg, OFlag, fallocate, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Read and written at once. Divides a piece of the digest, and is a multiple of every sector.
const BLOCK_BYTES: usize = 1 << 20;

/// Between the digest and the disk; the shim needs so many for as long as it takes a checkpoint.
const BLOCKS: usize = 6;

/// At the disk at once. With one the disk idles between two blocks.
const WRITERS: usize = 2;

/// Room on the disk is taken in such portions: the kernel lets only one writer at a time into a file that grows.
const ROOM_BYTES: u64 = 64 << 20;

/// A small image needs none.
const ROOM_FROM_BYTES: u64 = 16 << 20;

/// What alignment past the page cache asks for, at most.
const SECTOR_BYTES: usize = 4096;

/// At work until [`Intake::finish`], or until it is dropped.
pub(crate) struct Intake {
    path: PathBuf,
    /// Says by its end that the tool has written everything.
    told: Option<OwnedFd>,
    writer: Option<OwnedFd>,
    thread: Option<JoinHandle<io::Result<Digested>>>,
}

impl Intake {
    /// Begins a new file. Errors: `Io`.
    pub(crate) fn into(path: &Path) -> Result<Self, Error> {
        let file = create(path).map_err(Error::io(format!("write {}", path.display())))?;
        Self::begin(file, path)
    }

    fn begin(file: File, path: &Path) -> Result<Self, Error> {
        let (reader, writer) =
            nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(Error::os("make a pipe"))?;
        // The largest pipe that any user may have. A smaller one is only slower.
        let _ = fcntl(&writer, FcntlArg::F_SETPIPE_SZ(1 << 20));
        let (done, told) =
            nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(Error::os("make a pipe"))?;
        let body = move || take_in(File::from(reader), done, file);
        let thread = std::thread::Builder::new()
            .name("intake".into())
            .stack_size(128 << 10)
            .spawn(body)
            .map_err(Error::io("start a thread"))?;
        Ok(Self {
            path: path.to_owned(),
            told: Some(told),
            writer: Some(writer),
            thread: Some(thread),
        })
    }

    /// Where the tool is to write.
    pub(crate) fn writer(&self) -> &OwnedFd {
        self.writer.as_ref().expect("there until it is finished")
    }

    /// The tool has written everything, though it may keep its end of the pipe. Errors: `Io`, also of a full disk.
    pub(crate) fn finish(mut self) -> Result<Digested, Error> {
        self.end()
            .expect("it was not finished before")
            .map_err(Error::io(format!("write {}", self.path.display())))
    }

    fn end(&mut self) -> Option<io::Result<Digested>> {
        drop((self.writer.take(), self.told.take()));
        let joined = self.thread.take()?.join();
        Some(joined.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        // Given up: what became of the file does not matter any more.
        let _ = self.end();
    }
}

/// Past the page cache where the file system can.
fn create(path: &Path) -> io::Result<File> {
    let open = |flags| {
        File::options()
            .write(true)
            .create_new(true)
            .mode(0o644)
            .custom_flags(flags)
            .open(path)
    };
    match open(libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            // It may be there already, without its content.
            super::files::remove_file(path).map_err(io::Error::other)?;
            open(0)
        }
        result => result,
    }
}

/// One thread reads and digests, the others wait for the disk.
fn take_in(mut pipe: File, done: OwnedFd, file: File) -> io::Result<Digested> {
    // As many as there are blocks, so that handing one on never waits.
    let (full, to_write) = sync_channel::<(u64, Block)>(BLOCKS);
    let (emptied, empty) = channel();
    let mut region = Region::new()?;
    for block in region.blocks() {
        // The receiver is here.
        let _ = emptied.send(block);
    }
    let to_write = Mutex::new(to_write);
    let digested = std::thread::scope(|scope| {
        let write = |emptied: Sender<Block>| {
            let (file, to_write) = (&file, &to_write);
            std::thread::Builder::new()
                .name("intake to disk".into())
                .stack_size(64 << 10)
                .spawn_scoped(scope, move || write_out(file, to_write, &emptied))
        };
        let writers = (0..WRITERS).map(|_| write(emptied.clone()));
        let writers = writers.collect::<io::Result<Vec<_>>>()?;
        // From here on the writers alone say whether anything is written.
        drop(emptied);
        let read = read_in(&mut pipe, &done, &file, &empty, full);
        let written = writers.into_iter().map(|writer| {
            writer
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        // A disk that is full ended the reading too: that is the error to tell.
        written.collect::<io::Result<()>>().and(read)
    })?;
    // Whoever had a block has ended.
    drop((empty, to_write, region));
    // Without what was taken too much.
    file.set_len(digested.bytes)?;
    Ok(digested)
}

/// Until everything has come, or no writer is left.
fn read_in(
    pipe: &mut File,
    done: &OwnedFd,
    file: &File,
    empty: &Receiver<Block>,
    full: SyncSender<(u64, Block)>,
) -> io::Result<Digested> {
    let mut digest = Running::default();
    let mut room = ROOM_FROM_BYTES;
    while let Ok(mut block) = empty.recv() {
        let more = fill(pipe, done, &mut block)?;
        let offset = digest.bytes();
        digest.update(block.filled());
        if digest.bytes() > room {
            let (from, bytes) = (room.cast_signed(), ROOM_BYTES.cast_signed());
            // Where this is not possible, the writers take turns.
            let _ = fallocate(file, FallocateFlags::empty(), from, bytes);
            room += ROOM_BYTES;
        }
        if full.send((offset, block)).is_err() || !more {
            break;
        }
    }
    Ok(digest.finish())
}

/// Reads until the block is full (true) or everything has come (false).
fn fill(pipe: &mut File, done: &OwnedFd, block: &mut Block) -> io::Result<bool> {
    block.length = 0;
    while block.length < BLOCK_BYTES {
        let mut waiting = [
            PollFd::new(pipe.as_fd(), PollFlags::POLLIN),
            PollFd::new(done.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut waiting, PollTimeout::NONE) {
            Ok(_) => {}
            Err(nix::errno::Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let readable = waiting[0]
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLIN));
        if !readable {
            // Either end says so: the tool was told to be ready, or it has gone.
            return Ok(false);
        }
        match pipe.read(block.free()) {
            Ok(0) => return Ok(false),
            Ok(length) => block.length += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn write_out(
    file: &File,
    blocks: &Mutex<Receiver<(u64, Block)>>,
    emptied: &Sender<Block>,
) -> io::Result<()> {
    loop {
        let next = blocks.lock().expect("no holder panics").recv();
        let Ok((offset, block)) = next else {
            return Ok(());
        };
        if block.length % SECTOR_BYTES != 0 {
            // Only the last one.
            let flags = OFlag::from_bits_retain(fcntl(file, FcntlArg::F_GETFL)?);
            fcntl(file, FcntlArg::F_SETFL(flags.difference(OFlag::O_DIRECT)))?;
        }
        file.write_all_at(block.filled(), offset)?;
        // Nobody reads any more after the last one.
        let _ = emptied.send(block);
    }
}

/// The memory of all blocks, in large pages where the kernel has some: it would otherwise be taken one page at a time, by a sandbox that stands still
/// meanwhile.
struct Region {
    mapped: std::ptr::NonNull<u8>,
    bytes: usize,
}

const LARGE_PAGE_BYTES: usize = 2 << 20;

impl Region {
    fn new() -> io::Result<Self> {
        // So much more that it can begin with a large page.
        let bytes = BLOCKS * BLOCK_BYTES + LARGE_PAGE_BYTES;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        // SAFETY: new memory, which nothing else refers to.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // Small pages are only slower.
        // SAFETY: memory that was mapped just now.
        let _ = unsafe { libc::madvise(mapped, bytes, libc::MADV_HUGEPAGE) };
        let mapped = std::ptr::NonNull::new(mapped.cast()).expect("not at the address 0");
        Ok(Self { mapped, bytes })
    }

    /// Each block once. They may be used as long as the region is there.
    fn blocks(&mut self) -> impl Iterator<Item = Block> {
        let start = self.mapped.as_ptr();
        let aligned = start.align_offset(LARGE_PAGE_BYTES);
        (0..BLOCKS).map(move |number| {
            // SAFETY: within the region, which is larger by what is skipped.
            let start = unsafe { start.add(aligned + number * BLOCK_BYTES) };
            Block {
                start: std::ptr::NonNull::new(start).expect("after the start of the region"),
                length: 0,
            }
        })
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`; the blocks are gone. It cannot fail with what `mmap` gave.
        unsafe { libc::munmap(self.mapped.as_ptr().cast(), self.bytes) };
    }
}

/// Bytes at an address that the disk can take, a part of a [`Region`].
struct Block {
    start: std::ptr::NonNull<u8>,
    length: usize,
}

// SAFETY: nobody else has these bytes.
unsafe impl Send for Block {}

impl Block {
    fn filled(&self) -> &[u8] {
        // SAFETY: its own, zero from the kernel on, and `length` is never more than there is.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }

    fn free(&mut self) -> &mut [u8] {
        // SAFETY: as above, from `length` to the end.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.start.as_ptr().add(self.length),
                BLOCK_BYTES - self.length,
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PIECE_BYTES, digest};
    use super::*;
    use std::io::Write;

    /// Writes so many bytes through a pipe, in odd portions, and returns what is said of them.
    fn through(path: &Path, bytes: usize) -> Digested {
        let intake = Intake::into(path).unwrap();
        let mut tool = File::from(intake.writer().try_clone().unwrap());
        let data: Vec<u8> = (0..bytes).map(|n| (n * 7 + n / 251) as u8).collect();
        for portion in data.chunks(77_777) {
            tool.write_all(portion).unwrap();
        }
        // The tool keeps its end open, as one that collects its garbage later does.
        let digested = intake.finish().unwrap();
        assert_eq!(std::fs::read(path).unwrap(), data);
        drop(tool);
        digested
    }

    #[test]
    fn what_is_digested_on_the_way_is_what_a_reader_finds() {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        let piece = usize::try_from(PIECE_BYTES).unwrap();
        for (number, bytes) in [
            0,
            1,
            4096,
            BLOCK_BYTES,
            BLOCK_BYTES + 1,
            piece,
            piece + 8192,
        ]
        .into_iter()
        .enumerate()
        {
            let path = folder.path().join(number.to_string());
            let digested = through(&path, bytes);
            assert_eq!(digested, digest::of_file(&path).unwrap(), "{bytes} bytes");
        }
    }

    #[test]
    fn a_full_disk_is_told_and_the_tool_does_not_hang() {
        let full = File::options().write(true).open("/dev/full").unwrap();
        let intake = Intake::begin(full, Path::new("/dev/full")).unwrap();
        let mut tool = File::from(intake.writer().try_clone().unwrap());
        let block = vec![1; BLOCK_BYTES];
        let refused = (0..100).find_map(|_| tool.write_all(&block).err());
        assert_eq!(refused.unwrap().kind(), io::ErrorKind::BrokenPipe);
        let error = intake.finish().unwrap_err();
        assert!(error.to_string().contains("No space left"), "{error}");
    }
}
