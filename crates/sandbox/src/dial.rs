//! Connecting to a shim's socket, and telling from it whether a shim is there.

use crate::protocol::{Open, kind};
use crate::{Error, frames};
use dauer_wire::frame::Frame;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;

/// Between two tries to connect to a shim whose queue of connections is full; the kernel tells nobody when it is not.
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// A shim that does not answer within this time is starting, or stopped; it is there in any case.
const LOOK_MAX: Duration = Duration::from_millis(200);

/// What listens on a shim's socket.
enum Listener {
    /// Connected.
    Shim(UnixStream),
    /// Somebody does, but cannot take another connection at the moment.
    Busy,
    /// Nobody.
    None,
}

/// Connects to a shim's socket; `None` where nobody listens. Waits for one that is busy, such as one that is verifying a
/// large checkpoint.
pub(crate) async fn connect(socket: &Path) -> Result<Option<UnixStream>, Error> {
    loop {
        match try_connect(socket).await? {
            Listener::Shim(stream) => return Ok(Some(stream)),
            Listener::None => return Ok(None),
            Listener::Busy => tokio::time::sleep(BUSY_PAUSE).await,
        }
    }
}

/// Whether a shim listens. One that is just dying may still let itself be connected to, so it is asked; one that is still starting does not
/// answer yet, but its connections do not break either.
pub(crate) async fn is_alive(socket: &Path) -> Result<bool, Error> {
    let mut stream = match try_connect(socket).await? {
        Listener::Shim(stream) => stream,
        Listener::Busy => return Ok(true),
        Listener::None => return Ok(false),
    };
    if frames::write(&mut stream, &Frame::json(kind::OPEN, 0, &Open::Look))
        .await
        .is_err()
    {
        return Ok(false);
    }
    match tokio::time::timeout(LOOK_MAX, frames::read(&mut stream)).await {
        Ok(Ok(Some(_))) | Err(_) => Ok(true),
        Ok(Ok(None) | Err(_)) => Ok(false),
    }
}

/// Connects to a shim's socket without waiting.
async fn try_connect(socket: &Path) -> Result<Listener, Error> {
    let what = || format!("connect to {}", socket.display());
    let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
        return Err(Error::Invalid(format!(
            "{} is no socket path",
            socket.display()
        )));
    };
    // The address of a unix socket holds 108 bytes; the way through the open folder is always short.
    let folder = match std::fs::File::open(folder) {
        Ok(folder) => folder,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Listener::None),
        Err(e) => return Err(Error::io(what())(e)),
    };
    let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Listener::Shim(stream)),
        Err(e) => match e.kind() {
            // Reset: it died while this connection waited to be accepted.
            io::ErrorKind::NotFound
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset => Ok(Listener::None),
            io::ErrorKind::WouldBlock => Ok(Listener::Busy),
            _ => Err(Error::io(what())(e)),
        },
    }
}
