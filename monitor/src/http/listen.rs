//! Connections, and the limits on their number, duration and pace.

use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::body::{Bytes, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::time::Sleep;

use super::address::Address;
use super::guard::{harden, is_probe};
use super::places::{Connection, Peer, Place, Places};
use super::problem::Problem;
use super::server::Server;
use crate::log_once::LogOnce;

/// Timeout of the head of a request, and of an idle connection.
const HEAD: Duration = Duration::from_secs(5);
/// The longest head of a request.
const HEAD_BYTES: usize = 8 << 10;
/// The time in which a client that does not read as fast as the server writes must read [`PACE`] bytes.
const STALLED: Duration = Duration::from_secs(10);
const PACE: usize = 64 << 10;
/// The pause after accepting a connection has failed, mostly for want of descriptors.
const PAUSE: Duration = Duration::from_millis(200);
/// The pause before an address is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// A bound listener.
#[derive(Debug)]
pub(super) struct Listener {
    socket: Socket,
    /// The path of a unix socket, with its device and inode.
    path: Option<(PathBuf, (u64, u64))>,
}

#[derive(Debug)]
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds an address. A stale unix socket that nobody listens on is replaced.
    pub(super) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => Ok(Self { socket: Socket::Tcp(TcpListener::bind(address).await?), path: None }),
            Address::Unix(path) => {
                if is_left_over(path).await {
                    std::fs::remove_file(path)?;
                }
                let socket = Socket::Unix(UnixListener::bind(path)?);
                Ok(Self { socket, path: identity(path).map(|id| (path.clone(), id)) })
            }
        }
    }
}

/// Removes the unix socket, unless another file has its name now.
impl Drop for Listener {
    fn drop(&mut self) {
        if let Some((path, id)) = &self.path
            && identity(path) == Some(*id)
        {
            // If that fails, the next agent finds a socket that nobody listens on, and replaces it.
            _ = std::fs::remove_file(path);
        }
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

async fn is_left_over(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|metadata| metadata.file_type().is_socket());
    is_socket && UnixStream::connect(path).await.is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Binds as soon as possible, and logs a failure once.
pub(super) async fn bind(address: &Address) -> Listener {
    let mut log = LogOnce::default();
    loop {
        match Listener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if log.is_new(&error.to_string()) => {
                tracing::warn!(%address, %error, "Cannot listen, trying again");
            }
            Err(_) => {}
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Serves connections; never returns.
pub(super) async fn accept(listener: &Listener, server: Arc<Server>, router: Router) {
    let places = Arc::new(Places::default());
    loop {
        let (server, router) = (Arc::clone(&server), router.clone());
        let accepted = match &listener.socket {
            Socket::Tcp(listener) => listener.accept().await.map(|(stream, address)| {
                // A small answer is sent at once.
                _ = stream.set_nodelay(true);
                let connection = places.enter(Peer::of(address.ip()));
                tokio::spawn(serve(stream, connection, server, router));
            }),
            Socket::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                let connection = places.enter(Peer::Unix);
                tokio::spawn(serve(stream, connection, server, router));
            }),
        };
        if let Err(error) = accepted {
            tracing::debug!(%error, "Error accepting a connection");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    connection: Arc<Connection>,
    server: Arc<Server>,
    router: Router,
) {
    let router = TowerToHyperService::new(router);
    let own = Arc::clone(&connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let answer = admit(&server, &own, &request).map(|place| (place, router.call(request)));
        async move {
            let mut response: Response = match answer {
                Ok((place, answer)) => {
                    let response = answer.await.unwrap_or_else(|never| match never {});
                    response.map(|body| Body::new(Placed { body, _place: place }))
                }
                Err(problem) => problem.into_response(),
            };
            harden(&mut response);
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(2 * HEAD_BYTES)
        .serve_connection(TokioIo::new(WriteTimeout::new(stream)), service);
    tokio::select! {
        served = served => if let Err(error) = served {
            tracing::trace!(%error, "Connection ended with an error");
        },
        () = connection.closed() => {}
    }
}

/// Checks a request, and finds a place for it. A probe needs none.
fn admit(server: &Server, connection: &Arc<Connection>, request: &Request<Incoming>) -> Result<Option<Place>, Problem> {
    server.guard.check(request)?;
    if is_probe(request.uri().path()) {
        return Ok(None);
    }
    let place = connection.take(server.guard.has_token(request.headers()));
    let too_many = || {
        let detail = "too many requests are under way, of this address or in all; try again later";
        Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
    };
    place.map(Some).ok_or_else(too_many)
}

/// A body whose request keeps its place until the body's end.
struct Placed {
    body: Body,
    _place: Option<Place>,
}

impl hyper::body::Body for Placed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A connection whose client must keep reading.
struct WriteTimeout<T> {
    stream: T,
    /// The end of the time in which [`PACE`] bytes must be written; `None` while nothing waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// The bytes written in that time.
    written: usize,
}

impl<T> WriteTimeout<T> {
    fn new(stream: T) -> Self {
        Self { stream, waiting: None, written: 0 }
    }

    /// Fails a write that has waited for too long, or goes on too slowly.
    fn expire_write(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(result) = written {
            self.written = self.written.saturating_add(*result.as_ref().unwrap_or(&0));
            if self.written >= PACE {
                self.waiting = None;
            }
            return Poll::Ready(result);
        }
        let waiting = self.waiting.get_or_insert_with(|| {
            self.written = 0;
            Box::pin(tokio::time::sleep(STALLED))
        });
        waiting.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for WriteTimeout<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for WriteTimeout<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.expire_write(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.expire_write(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// The server flushes when all that it has is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if flushed.is_ready() {
            self.waiting = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx).map_ok(|()| 0);
        self.expire_write(cx, shut).map_ok(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_is_removed_only_by_whoever_bound_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let address = Address::Unix(path.clone());
        std::fs::write(&path, "precious").unwrap();
        assert!(Listener::bind(&address).await.is_err());
        assert_eq!(crate::foreign::read(&path, 99).unwrap(), b"precious");
        std::fs::remove_file(&path).unwrap();
        let first = Listener::bind(&address).await.unwrap();
        assert!(Listener::bind(&address).await.is_err(), "somebody listens");
        assert!(path.exists());
        std::fs::rename(&path, dir.path().join("old")).unwrap();
        let second = Listener::bind(&address).await.unwrap();
        drop(first);
        assert!(path.exists(), "the second one's");
        drop(second);
        assert!(!path.exists());
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_reads_too_slowly_is_left() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for (pause, ends) in [(1, true), (0, false)] {
            let (mut client, server) = tokio::io::duplex(1024);
            let mut slow = WriteTimeout::new(server);
            let writing = tokio::spawn(async move { slow.write_all(&[0; 256 << 10]).await });
            let mut piece = [0; 1024];
            for _ in 0..256 {
                tokio::time::sleep(Duration::from_secs(pause)).await;
                if client.read_exact(&mut piece).await.is_err() {
                    break;
                }
            }
            assert_eq!(writing.await.unwrap().is_err(), ends, "a KiB each {pause} s");
        }
    }
}
