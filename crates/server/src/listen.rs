//! The socket, its connections, and an orderly end.

use crate::request_id;
use crate::routes::{About, router};
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use dauer_engine::Engine;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::convert::Infallible;
use std::fs::{File, Permissions};
use std::future::Future;
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt as _;
use tracing::Instrument as _;

/// A connection may buffer this much: log pieces are large.
const BUFFER_BYTES: usize = 1 << 20;

/// Calls under way may finish in this time when the daemon ends. Those that follow something are cut: their clients
/// come back by themselves.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// A bound socket that only this user can reach. Removed when dropped.
#[derive(Debug)]
pub struct Listener {
    listener: UnixListener,
    path: PathBuf,
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
        })
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

/// Serves the caller API until `ended`, then lets calls under way finish for a moment. Jobs live on.
pub async fn serve(
    listener: Listener,
    engine: Engine,
    about: About,
    ended: impl Future<Output = ()>,
) {
    let router = router(engine, about);
    let (end, ending) = watch::channel(false);
    let mut connections = JoinSet::new();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            accepted = listener.listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(answer(stream, router.clone(), ending.clone()));
                }
                Err(error) => {
                    // Out of descriptors, most likely: connections that end make room.
                    tracing::warn!(%error, "accepting a connection");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            // What is done is forgotten; how it went was told to its client.
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    end.send_replace(true);
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(SHUTDOWN_GRACE, all_ended)
        .await
        .is_err()
    {
        tracing::debug!(connections = connections.len(), "cutting connections");
    }
    connections.shutdown().await;
}

async fn answer(stream: UnixStream, router: Router, mut ending: watch::Receiver<bool>) {
    let service =
        service_fn(move |request: http::Request<Incoming>| respond(router.clone(), request));
    let connection = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    // An end of the sender is an end too.
    let ends = async { ending.wait_for(|ending| *ending).await.map(drop) };
    let result = tokio::select! {
        result = &mut connection => result,
        _ = ends => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        // A client that went away, as a rule.
        tracing::debug!(%error, "a connection ended early");
    }
}

/// Answers one request under its id.
async fn respond(router: Router, request: http::Request<Incoming>) -> Result<Response, Infallible> {
    let id = request_id::of(request.headers());
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        path = request.uri().path()
    );
    let answered = router.oneshot(request.map(Body::new));
    let mut response = request_id::scope(&id, answered).instrument(span).await?;
    response.headers_mut().insert(request_id::HEADER, id);
    Ok(response)
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
