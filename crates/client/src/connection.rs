//! One HTTP connection per call.

use crate::host::{self, Remote};
use crate::{Error, Host};
use bytes::Bytes;
use dauer_wire::http::Problem;
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest JSON answer that is read whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Output comes in large pieces; small ones would halve the throughput of a log.
const READ_BUFFER_BYTES: usize = 512 << 10;

/// A path in the kernel's socket address has at most this many bytes.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A machine that does not answer within this is not there.
const CONNECT_MAX: Duration = Duration::from_secs(10);

pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A body that is there as a whole.
pub(crate) fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
        .map_err(|never: Infallible| match never {})
        .boxed_unsync()
}

/// Connects and sends; any status is an answer.
pub(crate) async fn exchange(
    host: &Host,
    request: Request<Body>,
) -> Result<Response<Incoming>, Error> {
    let stream = open(host).await?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(READ_BUFFER_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Error::lost)?;
    // The task ends with the connection, which ends when the answer's body is read or dropped. Its error is
    // seen by whoever reads that body.
    tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    sender
        .send_request(request)
        .await
        .map_err(|error| match input_error(&error) {
            Some(source) => Error::Input(source),
            None => Error::lost(chain(&error)),
        })
}

/// The same, where anything but success is [`Error::Refused`].
pub(crate) async fn call(host: &Host, request: Request<Body>) -> Result<Response<Incoming>, Error> {
    let response = exchange(host, request).await?;
    let status = response.status();
    if status.is_success() || status == StatusCode::SWITCHING_PROTOCOLS {
        return Ok(response);
    }
    let body = collect(response.into_body()).await?;
    Err(Error::Refused(Box::new(problem(status, &body))))
}

/// The whole body of an answer.
pub(crate) async fn collect(body: Incoming) -> Result<Bytes, Error> {
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    collected.map(|body| body.to_bytes()).map_err(Error::lost)
}

pub(crate) fn problem(status: StatusCode, body: &[u8]) -> Problem {
    match serde_json::from_slice::<Problem>(body) {
        Ok(problem) if !problem.code.is_empty() => problem,
        Ok(_) | Err(_) => Problem {
            status: status.as_u16(),
            code: "unknown".into(),
            detail: format!(
                "the daemon answered {status}: {}",
                String::from_utf8_lossy(body).trim()
            ),
            ..Problem::default()
        },
    }
}

/// A connection of either kind.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}

async fn open(host: &Host) -> Result<Box<dyn Connection>, Error> {
    let opened: io::Result<Box<dyn Connection>> = match host {
        Host::Unix(path) => connect_unix(path).await.map(|stream| Box::new(stream) as _),
        Host::Remote(remote) => match connect_tcp(remote).await {
            Ok(stream) if remote.https => agree_on_tls(remote, stream)
                .await
                .map(|stream| Box::new(stream) as _),
            Ok(stream) => Ok(Box::new(stream) as _),
            Err(error) => Err(error),
        },
    };
    opened.map_err(|source| Error::Unreachable {
        host: host.to_string(),
        source,
    })
}

async fn connect_tcp(remote: &Remote) -> io::Result<TcpStream> {
    let connected = TcpStream::connect((remote.name.as_str(), remote.port));
    let stream = tokio::time::timeout(CONNECT_MAX, connected)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn agree_on_tls(remote: &Remote, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let config = match &remote.trust {
        Some(config) => Arc::clone(config),
        None => trust_of_this_machine()?,
    };
    let name = ServerName::try_from(remote.name.clone()).map_err(io::Error::other)?;
    let agreed = TlsConnector::from(config).connect(name, stream);
    tokio::time::timeout(CONNECT_MAX, agreed)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

/// Read once: it is many files.
fn trust_of_this_machine() -> io::Result<Arc<ClientConfig>> {
    static TRUST: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = TRUST.get() {
        return Ok(Arc::clone(config));
    }
    let mut roots = RootCertStore::empty();
    // Those that cannot be read are not trusted; that the rest is not enough shows when it is used.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = host::config(roots).map_err(io::Error::other)?;
    Ok(Arc::clone(TRUST.get_or_init(|| config)))
}

/// A path that is too long for a socket address is reached through an open descriptor of its folder.
async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    use std::os::unix::ffi::OsStrExt;
    if path.as_os_str().as_bytes().len() <= SOCKET_PATH_BYTES_MAX {
        return UnixStream::connect(path).await;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = std::fs::File::open(folder)?;
    let fd = std::os::fd::AsRawFd::as_raw_fd(&folder);
    UnixStream::connect(Path::new(&format!("/proc/self/fd/{fd}")).join(name)).await
}

/// The error of the caller's own body, if that is what ended the request.
fn input_error(error: &hyper::Error) -> Option<io::Error> {
    if !error.is_user() {
        return None;
    }
    let source = std::error::Error::source(error)?.downcast_ref::<io::Error>()?;
    Some(io::Error::new(source.kind(), source.to_string()))
}

pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {}", chain(source)),
        None => error.to_string(),
    }
}
