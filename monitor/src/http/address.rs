//! The address that the server listens on.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use super::guard::{Token, TokenError};

/// An address to listen at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The path of a unix socket.
    Unix(PathBuf),
}

/// Settings of the server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListenOptions {
    /// The address to listen on.
    pub address: Address,
    /// The file that holds the token clients must send, if one is required.
    pub token_file: Option<PathBuf>,
    /// True if any name is answered, and no token is needed on any address.
    pub open: bool,
}

impl ListenOptions {
    /// Reads the token that the server asks for, if there is one.
    ///
    /// # Errors
    /// See [`Token::read`].
    pub fn token(&self) -> Result<Option<Token>, TokenError> {
        self.token_file.as_deref().map(Token::read).transpose()
    }

    /// The address if it is one of loopback, to which DNS rebinding can lead a browser, and not open.
    pub(super) fn guarded(&self) -> Option<IpAddr> {
        self.address.loopback().filter(|_| !self.open)
    }
}

impl Address {
    /// Reads `ADDR:PORT`, `localhost:PORT` or `unix:PATH`.
    ///
    /// # Errors
    /// The text says what to write instead.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unknown = || {
            "is no address; write ADDR:PORT with a number for ADDR, for example 127.0.0.1:8080 or [::1]:8080, or \
             unix:/PATH"
                .to_owned()
        };
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(unknown()) };
        }
        if let Some(port) = text.strip_prefix("localhost:") {
            let port = port.parse().map_err(|_| unknown())?;
            return Ok(Self::Tcp((Ipv4Addr::LOCALHOST, port).into()));
        }
        text.parse().map(Self::Tcp).map_err(|_| unknown())
    }

    /// True if only this machine can reach it: loopback, or a path that the filesystem guards.
    pub fn is_private(&self) -> bool {
        match self {
            Self::Tcp(address) => is_loopback(address.ip()),
            Self::Unix(_) => true,
        }
    }

    /// The address if it is one of loopback, to which DNS rebinding can lead a browser.
    fn loopback(&self) -> Option<IpAddr> {
        match self {
            Self::Tcp(address) => Some(address.ip()).filter(|ip| is_loopback(*ip)),
            Self::Unix(_) => None,
        }
    }
}

impl Default for Address {
    /// The default address of a fleet's page.
    fn default() -> Self {
        Self::Tcp((Ipv4Addr::LOCALHOST, 8080).into())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}/"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

fn is_loopback(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}
