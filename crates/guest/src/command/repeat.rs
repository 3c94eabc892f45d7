//! Asking again until there is an answer, and what makes that harmless.

use super::http::Reply;
use std::fs::File;
use std::io::Read;
use std::thread;
use std::time::{Duration, Instant};

/// A relay that cannot be reached is tried again for so long: about as long as a slow restore.
const RETRY_FOR: Duration = Duration::from_secs(60);

const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// The freeze may cut a connection, and the token makes repeating safe. Not retried: an answer, whatever it says, but for 502 to
/// 504, by which a daemon that is just being restarted is announced.
pub(super) fn until_reached(call: impl Fn() -> Result<Reply, String>) -> Result<Reply, String> {
    let give_up_at = Instant::now() + RETRY_FOR;
    loop {
        let result = call();
        let is_passing = result
            .as_ref()
            .map_or(true, |reply| (502..=504).contains(&reply.status));
        if !is_passing || Instant::now() >= give_up_at {
            return result;
        }
        thread::sleep(RETRY_PAUSE);
    }
}

/// A random UUID (version 4).
pub(super) fn random_token() -> Result<String, String> {
    let mut bytes = [0; 16];
    let source = "/dev/urandom";
    let read = File::open(source).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(|error| format!("cannot read {source} for a token: {error}; pass --token"))?;
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok([
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..],
    ]
    .join("-"))
}

/// A token as one segment of a path.
pub(super) fn escape(token: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    token
        .bytes()
        .map(|byte| {
            if is_plain(&byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_uuids_and_differ() {
        let (one, other) = (random_token().unwrap(), random_token().unwrap());
        assert_ne!(one, other);
        assert_eq!(
            (one.len(), &one[14..15], one.matches('-').count()),
            (36, "4", 4)
        );
    }

    #[test]
    fn a_token_stays_one_segment() {
        assert_eq!(escape("a/b c?é-1"), "a%2Fb%20c%3F%C3%A9-1");
    }
}
