//! Open files that have no name any more, on file systems outside the checkpoint's memory: not every driver can restore them.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const MARK: &str = " (deleted)";

/// tmpfs, ramfs and hugetlbfs: their files are memory, and are checkpointed as such.
const IN_MEMORY: [libc::__fsword_t; 3] = [0x0102_1994, 0x8584_58f6, 0x9584_58f6];

/// Enough to say what is wrong.
const NAMED_MAX: usize = 20;

/// As `pid 7: /var/tmp/x`. What cannot be looked at (a process that ends meanwhile) is left out.
pub(super) fn find() -> Vec<String> {
    let own = std::process::id();
    let mut found = Vec::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if pid == own {
            continue;
        }
        for entry in fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten()
        {
            if let Some(path) = unlinked(&entry.path()) {
                found.push(format!("pid {pid}: {path}"));
            }
            if found.len() == NAMED_MAX {
                return found;
            }
        }
    }
    found
}

/// The former path of an open file that lost its last name.
fn unlinked(fd: &Path) -> Option<String> {
    let target = fs::read_link(fd).ok()?;
    let path = target.to_str()?.strip_suffix(MARK)?.to_owned();
    // memfd and other files of no file system: "/memfd:…" , "/SYSV…", "/[aio]"; their content is memory.
    let without_name = !path.starts_with('/')
        || ["/memfd:", "/SYSV", "/["]
            .iter()
            .any(|start| path.starts_with(start));
    let metadata = fs::metadata(fd).ok()?;
    // A file whose name really ends so still has a name.
    if without_name
        || !metadata.is_file()
        || metadata.nlink() > 0 && target.exists()
        || is_in_memory(fd)
    {
        return None;
    }
    Some(path)
}

fn is_in_memory(fd: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(fd.as_os_str().as_bytes()) else {
        return false;
    };
    // SAFETY: an all-zero statfs is valid, and both pointers live through the call.
    unsafe {
        let mut info: libc::statfs = std::mem::zeroed();
        libc::statfs(path.as_ptr(), &raw mut info) == 0 && IN_MEMORY.contains(&info.f_type)
    }
}
