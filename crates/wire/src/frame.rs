//! The frame: the unit of every byte stream between Dauer's own processes (agent, shim, daemon, log reader).
//!
//! ```text
//! 0        4      5         8            16
//! | length | kind | zero    | id         | payload (length bytes)
//! | u32 le | u8   | 3 bytes | u64 le     |
//! ```
//!
//! `id` is a request, session or stream number, by kind. Blocking IO; the asynchronous side of the shim's
//! socket uses [`Frame::head`] and [`parse_head`] with its own reads.

use std::io::{self, Read, Write};

/// Bytes before the payload.
pub const HEAD_BYTES: usize = 16;

/// The longest payload. A longer one is a broken stream, not a big message.
pub const PAYLOAD_BYTES_MAX: usize = 4 << 20;

/// One message as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is; the meaning is the protocol's.
    pub kind: u8,
    /// Request, session or stream.
    pub id: u64,
    /// JSON or raw bytes, by kind.
    pub payload: Vec<u8>,
}

impl Frame {
    /// A frame with this payload.
    #[must_use]
    pub fn new(kind: u8, id: u64, payload: Vec<u8>) -> Self {
        Self { kind, id, payload }
    }

    /// A frame whose payload is this value as JSON.
    ///
    /// # Panics
    /// When the value has a map key that is not text, which no message type here has.
    #[must_use]
    pub fn json<T: serde::Serialize>(kind: u8, id: u64, value: &T) -> Self {
        Self::new(
            kind,
            id,
            serde_json::to_vec(value).expect("message types serialize"),
        )
    }

    /// The payload read as JSON.
    ///
    /// # Errors
    /// `InvalidData` with the reason.
    pub fn parse<T: serde::de::DeserializeOwned>(&self) -> io::Result<T> {
        serde_json::from_slice(&self.payload)
            .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))
    }

    /// The 16 bytes before the payload.
    #[must_use]
    pub fn head(kind: u8, id: u64, payload_bytes: usize) -> [u8; HEAD_BYTES] {
        let mut head = [0; HEAD_BYTES];
        let length =
            u32::try_from(payload_bytes).expect("payloads are bounded by PAYLOAD_BYTES_MAX");
        head[..4].copy_from_slice(&length.to_le_bytes());
        head[4] = kind;
        head[8..].copy_from_slice(&id.to_le_bytes());
        head
    }

    /// Writes the whole frame and flushes nothing. One `write` where the payload is small, so that frames of
    /// several threads behind one lock stay whole.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write_to(&self, writer: &mut impl Write) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.payload.len());
        bytes.extend_from_slice(&Self::head(self.kind, self.id, self.payload.len()));
        bytes.extend_from_slice(&self.payload);
        writer.write_all(&bytes)
    }

    /// Reads one frame; `None` at a clean end of the stream.
    ///
    /// # Errors
    /// Those of the reader; `UnexpectedEof` inside a frame; `InvalidData` for an impossible length.
    pub fn read_from(reader: &mut impl Read) -> io::Result<Option<Self>> {
        let mut head = [0; HEAD_BYTES];
        let mut filled = 0;
        while filled < HEAD_BYTES {
            match reader.read(&mut head[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        let (length, kind, id) = parse_head(&head)?;
        let mut payload = vec![0; length];
        reader.read_exact(&mut payload)?;
        Ok(Some(Self { kind, id, payload }))
    }
}

/// Length of the payload, kind and id from the 16 bytes before it.
///
/// # Errors
/// `InvalidData` where the length is over [`PAYLOAD_BYTES_MAX`].
pub fn parse_head(head: &[u8; HEAD_BYTES]) -> io::Result<(usize, u8, u64)> {
    let length = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if length > PAYLOAD_BYTES_MAX {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("frame of {length} bytes"),
        ));
    }
    let id = u64::from_le_bytes([
        head[8], head[9], head[10], head[11], head[12], head[13], head[14], head[15],
    ]);
    Ok((length, head[4], id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_survives_the_stream_and_the_end_is_clean() {
        let frame = Frame::new(7, 1 << 40, vec![1, 2, 3]);
        let mut bytes = Vec::new();
        frame.write_to(&mut bytes).unwrap();
        let mut reader = bytes.as_slice();
        assert_eq!(Frame::read_from(&mut reader).unwrap(), Some(frame));
        assert_eq!(Frame::read_from(&mut reader).unwrap(), None);
    }

    #[test]
    fn a_torn_or_absurd_frame_is_an_error() {
        let mut bytes = Vec::new();
        Frame::new(1, 1, vec![0; 10]).write_to(&mut bytes).unwrap();
        bytes.pop();
        assert!(Frame::read_from(&mut bytes.as_slice()).is_err());
        assert!(Frame::read_from(&mut [0xff; HEAD_BYTES].as_slice()).is_err());
    }
}
