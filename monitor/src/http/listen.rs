//! Connections, and the limits on their number, duration and pace.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::Sleep;

use super::address::Address;
use super::guard::harden;
use super::server::Server;
use crate::log_once::LogOnce;

/// Connections that are served at once; the next one waits until one ends. There are more than event streams, so that
/// streams cannot take all of them.
pub(crate) const CONNECTIONS: usize = 320;
/// Timeout of the head of a request, and of an idle connection.
const HEAD: Duration = Duration::from_secs(5);
/// The longest head of a request.
const HEAD_BYTES: usize = 8 << 10;
/// Timeout of a write that the client does not accept.
const STALLED: Duration = Duration::from_secs(10);
/// The pause after accepting a connection has failed, mostly for want of descriptors.
const PAUSE: Duration = Duration::from_millis(200);
/// The pause before an address is tried again.
const AGAIN: Duration = Duration::from_secs(2);

/// A bound listener.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds an address. A stale unix socket that nobody listens on is replaced.
    pub(super) async fn bind(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Address::Unix(path) => {
                if is_left_over(path).await {
                    std::fs::remove_file(path)?;
                }
                UnixListener::bind(path).map(Self::Unix)
            }
        }
    }
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
            Err(error) => log.warn(&format!("Cannot listen at {address}: {error}; trying again")),
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// Serves connections; never returns.
pub(super) async fn accept(listener: Listener, server: Arc<Server>, router: Router) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        // The semaphore is never closed.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let (server, router) = (Arc::clone(&server), router.clone());
        let accepted = match &listener {
            Listener::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                // A small answer is sent at once.
                _ = stream.set_nodelay(true);
                let connection = serve(stream, server, router);
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }),
            Listener::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                let connection = serve(stream, server, router);
                tokio::spawn(async move {
                    connection.await;
                    drop(place);
                });
            }),
        };
        if let Err(error) = accepted {
            tracing::debug!("a connection could not be accepted: {error}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send, server: Arc<Server>, router: Router) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request: Request<Incoming>| {
        let checked = server.guard.check(&request);
        let answer = checked.map(|()| router.call(request));
        async move {
            let mut response: Response = match answer {
                Ok(answer) => answer.await.unwrap_or_else(|never| match never {}),
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
    if let Err(error) = served.await {
        tracing::trace!("a connection ended: {error}");
    }
}

/// A connection with a timeout on writes.
struct WriteTimeout<T> {
    stream: T,
    waiting: Option<Pin<Box<Sleep>>>,
}

impl<T> WriteTimeout<T> {
    fn new(stream: T) -> Self {
        Self { stream, waiting: None }
    }

    /// Fails a write that has waited for too long.
    fn expire_write<R>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if written.is_ready() {
            self.waiting = None;
            return written;
        }
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(STALLED)));
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

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.expire_write(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.expire_write(cx, shut)
    }
}
