//! Frames over asynchronous streams: the daemon's side of what the shim reads and writes blocking.

use dauer_wire::frame::{Frame, HEAD_BYTES, parse_head};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Reads one frame; `None` at a clean end. Not cancel safe: give it a task of its own.
pub(crate) async fn read(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut head = [0; HEAD_BYTES];
    let mut filled = 0;
    while filled < HEAD_BYTES {
        match reader.read(&mut head[filled..]).await? {
            0 if filled == 0 => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            n => filled += n,
        }
    }
    let (length, kind, id) = parse_head(&head)?;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await?;
    Ok(Some(Frame { kind, id, payload }))
}

/// Writes one frame whole.
pub(crate) async fn write(writer: &mut (impl AsyncWrite + Unpin), frame: &Frame) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + frame.payload.len());
    bytes.extend_from_slice(&Frame::head(frame.kind, frame.id, frame.payload.len()));
    bytes.extend_from_slice(&frame.payload);
    writer.write_all(&bytes).await
}
