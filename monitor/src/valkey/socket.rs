//! Opens sockets: TCP, with TLS or without, and unix.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use redis::io::tcp::socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use super::fault::Fault;
use super::resolve;
use super::target::HostPort;
use super::tls;

/// `TCP_USER_TIMEOUT`: the kernel's own limit for unacknowledged data is a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// The most addresses of a name that are tried.
const ADDRESSES: usize = 8;

/// An open connection of any kind.
pub(super) type Socket = Box<dyn Stream>;

/// Byte stream of a connection: a socket, or TLS over one.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to a host, to whichever of its addresses answers first.
pub(super) async fn tcp((host, port): &HostPort, tls: Option<&TlsConnector>) -> Result<Socket, Fault> {
    let mut attempts = JoinSet::new();
    for address in resolve::found(host).await?.into_iter().take(ADDRESSES) {
        let address = SocketAddr::new(address, *port);
        attempts.spawn(async move { TcpStream::connect(address).await });
    }
    let mut failed = Fault::new(format!("{host} has no address"));
    while let Some(attempt) = attempts.join_next().await {
        match attempt.unwrap_or_else(|error| Err(io::Error::other(error))).and_then(lively) {
            Ok(stream) => {
                return match tls {
                    Some(tls) => Ok(Box::new(tls::wrap(tls, host, stream).await?)),
                    None => Ok(Box::new(stream)),
                };
            }
            Err(error) => failed = Fault::from(&error),
        }
    }
    Err(failed)
}

/// Connects by a socket in the file system.
pub(super) async fn unix(path: &Path) -> Result<Socket, Fault> {
    Ok(Box::new(UnixStream::connect(path).await.map_err(|error| Fault::from(&error))?))
}

/// Makes a connection that sends at once, and notices a peer that is gone.
fn lively(stream: TcpStream) -> io::Result<TcpStream> {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3);
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED))?;
    Ok(stream)
}
