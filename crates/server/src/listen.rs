//! The unix socket: private, replaced only where nobody listens at it any more.

use crate::gate::Peer;
use std::fs::{File, Permissions};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use tokio::net::{UnixListener, UnixStream};

/// A bound socket that only this user can reach. Removed when dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
    /// The user whose daemon this is.
    owner: u32,
}

impl Listener {
    /// Binds the socket in an existing folder, which becomes private, and replaces one that nobody listens at any more. It appears under its
    /// name only when it can be connected to. Its path may be longer than a socket address.
    ///
    /// # Errors
    /// `AddrInUse` where somebody listens there; those of the file system.
    pub async fn bind(path: &Path) -> io::Result<Self> {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the socket has no folder",
            ));
        };
        std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        let open_folder = File::open(folder)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}", open_folder.as_raw_fd()));
        if UnixStream::connect(short.join(name)).await.is_ok() {
            let text = format!("a daemon listens at {} already", path.display());
            return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
        }
        let fresh = short.join(format!(".sock.{}", std::process::id()));
        remove_if_there(&fresh)?;
        let listener = UnixListener::bind(&fresh)?;
        std::fs::set_permissions(&fresh, Permissions::from_mode(0o600))?;
        std::fs::rename(&fresh, short.join(name))?;
        Ok(Self {
            listener,
            path: path.to_owned(),
            owner: std::fs::metadata("/proc/self")?.uid(),
        })
    }

    /// The next connection, and who is at its other end, as the kernel knows it.
    pub(crate) async fn accept(&self) -> io::Result<(UnixStream, Peer)> {
        let (stream, _) = self.listener.accept().await?;
        let uid = stream.peer_cred()?.uid();
        let peer = if uid == self.owner || uid == 0 {
            Peer::Owner(uid)
        } else {
            Peer::Stranger(uid)
        };
        Ok((stream, peer))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A leftover is harmless: the next daemon replaces it.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stale_socket_is_replaced_and_a_living_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        // Longer than a socket address.
        let deep = folder.path().join("x".repeat(150));
        std::fs::create_dir(&deep).unwrap();
        let path = deep.join("dauer.sock");
        let first = Listener::bind(&path).await.unwrap();
        assert_eq!(
            Listener::bind(&path).await.unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            std::fs::metadata(&deep).unwrap().permissions().mode() & 0o777,
            0o700
        );
        drop(first);
        // As after a kill -9: the file is there, nobody listens.
        let stale = deep.join("stale.sock");
        drop(std::os::unix::net::UnixListener::bind(folder.path().join("s")).unwrap());
        std::fs::rename(folder.path().join("s"), &stale).unwrap();
        let replaced = Listener::bind(&stale).await.unwrap();
        drop(replaced);
        assert!(!stale.exists());
    }
}
