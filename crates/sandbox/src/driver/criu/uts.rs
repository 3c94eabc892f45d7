//! The host name in an image of CRIU: a fork wakes under its own.

use crate::Error;
use std::fs;
use std::path::Path;

/// Two magic numbers come before the first entry.
const HEAD_BYTES: usize = 8;

/// Of a field with a length in a protocol buffer: number 1, type 2.
const NODE_NAME: u8 = 1 << 3 | 2;
const DOMAIN_NAME: u8 = 2 << 3 | 2;

/// The file of the image in `from` that holds the host name, with this one in it; `None` where the image has none.
/// Errors: `BadImage`, `Io`.
pub(in crate::driver) fn renamed(
    from: &Path,
    name: &str,
) -> Result<Option<(String, Vec<u8>)>, Error> {
    let names = crate::files::names(from)?;
    let Some(file) = names.into_iter().find(|name| name.starts_with("utsns-")) else {
        return Ok(None);
    };
    let path = from.join(&file);
    let bytes = fs::read(&path).map_err(Error::io(format!("read {}", path.display())))?;
    let bad = || Error::BadImage(format!("{} is not as CRIU writes it", path.display()));
    let entry = written_anew(&bytes, name).ok_or_else(bad)?;
    Ok(Some((file, entry)))
}

/// The file with another host name and the same domain.
fn written_anew(bytes: &[u8], name: &str) -> Option<Vec<u8>> {
    let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let mut entry = rest.get(..usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    let mut domain: &[u8] = &[];
    while let Some((&key, after)) = entry.split_first() {
        let (&length, after) = after.split_first()?;
        let (value, after) = after.split_at_checked(usize::from(length))?;
        match key {
            NODE_NAME => {}
            DOMAIN_NAME => domain = value,
            _ => return None,
        }
        entry = after;
    }
    let mut entry = Vec::new();
    for (key, value) in [(NODE_NAME, name.as_bytes()), (DOMAIN_NAME, domain)] {
        // The kernel takes 64 bytes, so that one byte says how many there are.
        let length = u8::try_from(value.len())
            .ok()
            .filter(|length| *length <= 64)?;
        entry.extend([key, length]);
        entry.extend_from_slice(value);
    }
    let length = u32::try_from(entry.len()).ok()?;
    Some([head, &length.to_le_bytes(), &entry].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_of_another_length_takes_its_place() {
        let file = [
            &[0x19, 0x43, 0x56, 0x54, 0x03, 0x32, 0x47, 0x54, 15, 0, 0, 0][..],
            b"\x0a\x05dauer\x12\x06(none)",
        ]
        .concat();
        let anew = written_anew(&file, "fork-12").unwrap();
        assert_eq!(anew[..8], file[..8]);
        assert_eq!(anew[8..12], [17, 0, 0, 0]);
        assert_eq!(&anew[12..], b"\x0a\x07fork-12\x12\x06(none)");
        assert_eq!(written_anew(&anew, "dauer").unwrap(), file);
        for torn in [&file[..7], &file[..11], &file[..20]] {
            assert_eq!(written_anew(torn, "x"), None);
        }
    }
}
