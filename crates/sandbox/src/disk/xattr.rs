//! Extended attributes of the thing at a path itself, links not followed.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

fn c_path(path: &Path) -> io::Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// Calls `fill` with a buffer that is as long as it asks for.
fn filled(mut fill: impl FnMut(*mut u8, usize) -> isize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 256];
    loop {
        let length = fill(bytes.as_mut_ptr(), bytes.len());
        if let Ok(length) = usize::try_from(length) {
            bytes.truncate(length);
            return Ok(bytes);
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::ERANGE) || bytes.len() > 1 << 20 {
            return Err(error);
        }
        bytes.resize(bytes.len() * 8, 0);
    }
}

/// The value of one attribute.
pub(crate) fn get(path: &Path, name: &CStr) -> io::Result<Option<Vec<u8>>> {
    let path = c_path(path)?;
    // SAFETY: terminated strings and a buffer of the given length.
    match filled(|to, length| unsafe {
        libc::lgetxattr(path.as_ptr(), name.as_ptr(), to.cast(), length)
    }) {
        Ok(value) => Ok(Some(value)),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ENODATA | libc::EOPNOTSUPP)) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Copies every attribute.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for (name, value) in all(from)? {
        set(to, &name, &value)?;
    }
    Ok(())
}

/// Every attribute.
pub(crate) fn all(path: &Path) -> io::Result<Vec<(CString, Vec<u8>)>> {
    let source = c_path(path)?;
    // SAFETY: a terminated string and a buffer of the given length.
    let names = match filled(|to, length| unsafe {
        libc::llistxattr(source.as_ptr(), to.cast(), length)
    }) {
        Ok(names) => names,
        Err(e) if e.raw_os_error() == Some(libc::EOPNOTSUPP) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut all = Vec::new();
    for name in names.split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else {
            continue;
        };
        if let Some(value) = get(path, name)? {
            all.push((name.to_owned(), value));
        }
    }
    Ok(all)
}

/// Sets one.
pub(crate) fn set(path: &Path, name: &CStr, value: &[u8]) -> io::Result<()> {
    let target = c_path(path)?;
    // SAFETY: terminated strings and a buffer of the given length.
    let result = unsafe {
        libc::lsetxattr(
            target.as_ptr(),
            name.as_ptr(),
            value.as_ptr().cast(),
            value.len(),
            0,
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The value of an attribute of overlayfs, as root or an ordinary user has it.
pub(super) fn overlay(path: &Path, trusted: &CStr, user: &CStr) -> io::Result<Option<Vec<u8>>> {
    match get(path, trusted)? {
        Some(value) => Ok(Some(value)),
        None => get(path, user),
    }
}
