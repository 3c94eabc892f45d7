//! Connections, and an orderly end.

use crate::gate::Peer;
use crate::listen::Listener;
use crate::request_id;
use crate::routes::{About, router};
use crate::tcp::Tcp;
use axum::Router;
use axum::body::Body;
use axum::response::Response;
use dauer_engine::Engine;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tracing::Instrument as _;

/// A connection of the daemon's own user may buffer this much: log pieces are large.
const OWN_BUFFER_BYTES: usize = 1 << 20;

/// One of the network may buffer this much, which is also the longest head of a request.
const BUFFER_BYTES: usize = 64 << 10;

/// The head of a request has to come within this, and an idle connection is closed after it.
const HEAD_MAX: Duration = Duration::from_secs(30);

/// TLS has to be agreed on within this.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// Connections of the network at once; those beyond wait to be accepted.
const CONNECTIONS_MAX: usize = 8192;

/// After a failed accept: out of descriptors, most likely, and connections that end make room.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Calls under way may finish in this time when the daemon ends. Those that follow something are cut: their clients
/// come back by themselves.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(1);

/// Where and how the caller API is served.
#[derive(Debug)]
pub struct Serving {
    /// The socket of the daemon's own user.
    pub unix: Listener,
    /// The address on the network, if there is one.
    pub tcp: Option<Tcp>,
    /// Requests a second that each token may make; absent: any number.
    pub rate_per_second: Option<NonZeroU32>,
}

/// Serves the caller API until `ended`, then lets calls under way finish for a moment. Jobs live on.
pub async fn serve(
    serving: Serving,
    engine: Engine,
    about: About,
    ended: impl Future<Output = ()>,
) {
    let Serving {
        unix,
        tcp,
        rate_per_second,
    } = serving;
    let router = router(engine, about, rate_per_second);
    let (end, ending) = watch::channel(false);
    let mut connections = JoinSet::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            accepted = unix.accept() => match accepted {
                Ok((stream, peer)) => {
                    connections.spawn(answer(stream, peer, router.clone(), ending.clone()));
                }
                Err(error) => pause(&error).await,
            },
            accepted = accept_tcp(tcp.as_ref(), &room) => match accepted {
                Ok((stream, tls, permit)) => {
                    let (router, ending) = (router.clone(), ending.clone());
                    connections.spawn(async move {
                        answer_tcp(stream, tls, router, ending).await;
                        drop(permit);
                    });
                }
                Err(error) => pause(&error).await,
            },
            // What is done is forgotten; how it went was told to its client.
            Some(_) = connections.join_next() => {}
        }
    }
    drop((unix, tcp));
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

async fn pause(error: &io::Error) {
    tracing::warn!(%error, "accepting a connection");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// The next connection of the network; waits for ever where there is no address. Cancel safe.
async fn accept_tcp(
    tcp: Option<&Tcp>,
    room: &Arc<Semaphore>,
) -> io::Result<(TcpStream, Option<TlsAcceptor>, OwnedSemaphorePermit)> {
    let Some(tcp) = tcp else {
        return std::future::pending().await;
    };
    let permit = Arc::clone(room)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, _) = tcp.listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, tcp.tls.as_ref().map(|tls| tls.acceptor()), permit))
}

async fn answer_tcp(
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    router: Router,
    ending: watch::Receiver<bool>,
) {
    let Some(tls) = tls else {
        return answer(stream, Peer::Network, router, ending).await;
    };
    match tokio::time::timeout(HANDSHAKE_MAX, tls.accept(stream)).await {
        Ok(Ok(stream)) => answer(stream, Peer::Network, router, ending).await,
        Ok(Err(error)) => tracing::debug!(%error, "a client did not agree on TLS"),
        Err(_) => tracing::debug!("a client took too long to agree on TLS"),
    }
}

async fn answer<S>(stream: S, peer: Peer, router: Router, mut ending: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service =
        service_fn(move |request: http::Request<Incoming>| respond(router.clone(), peer, request));
    let buffer_bytes = match peer {
        Peer::Owner(_) => OWN_BUFFER_BYTES,
        Peer::Stranger(_) | Peer::Network => BUFFER_BYTES,
    };
    let connection = http1::Builder::new()
        .max_buf_size(buffer_bytes)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_MAX)
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
async fn respond(
    router: Router,
    peer: Peer,
    request: http::Request<Incoming>,
) -> Result<Response, Infallible> {
    let id = request_id::of(request.headers());
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        method = %request.method(),
        path = request.uri().path()
    );
    let mut request = request.map(Body::new);
    request.extensions_mut().insert(peer);
    let answered = router.oneshot(request);
    let mut response = request_id::scope(&id, answered).instrument(span).await?;
    response.headers_mut().insert(request_id::HEADER, id);
    Ok(response)
}
