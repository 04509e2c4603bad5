//! One connection to one server.
//!
//! The library's own reconnecting connection is not used: it never gives up a connection that a partition has cut, and
//! refuses for ever after one failed authentication. Here every error that is not an answer of the server ends the
//! connection, and the next attempt reads the password and certificate files again.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo};
use redis::{ProtocolVersion, RedisConnectionInfo, RedisError, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::fault::{Fault, FaultKind};
use super::options::ValkeyOptions;
use super::resolve::Names;
use super::target::{Address, HostPort, Secret, Target};
use crate::secrets;

/// Timeouts of connecting, and of the first PING.
const CONNECT: Duration = Duration::from_secs(2);
const RESPONSE: Duration = Duration::from_secs(3);
/// `TCP_USER_TIMEOUT`: the kernel's own limit for unacknowledged data is a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Opens connections.
#[derive(Debug)]
pub(super) struct Dial {
    options: ValkeyOptions,
    /// True once the server has refused RESP3.
    is_old: AtomicBool,
}

impl Dial {
    /// Creates a dialer with these options.
    pub(super) fn new(options: ValkeyOptions) -> Self {
        Self { options, is_old: AtomicBool::new(false) }
    }

    /// The target of connections.
    pub(super) fn target(&self) -> &Target {
        &self.options.target
    }

    /// Connects to a host, authenticates and sends a PING.
    pub(super) async fn host(&self, host: &HostPort) -> Result<MultiplexedConnection, Fault> {
        self.open(&self.address(host), true).await
    }

    /// Connects to a sentinel, which may want the same login as the servers, or none.
    pub(super) async fn sentinel(&self, host: &HostPort) -> Result<MultiplexedConnection, Fault> {
        match self.open(&self.address(host), false).await {
            Err(fault) if fault.kind == FaultKind::AuthRequired => self.open(&self.address(host), true).await,
            other => other,
        }
    }

    /// Connects by a socket in the file system.
    pub(super) async fn socket(&self, path: &Path) -> Result<MultiplexedConnection, Fault> {
        self.open(&ConnectionAddr::Unix(path.to_owned()), true).await
    }

    fn address(&self, (host, port): &HostPort) -> ConnectionAddr {
        match self.target().address {
            Address::Tcp { tls: true, .. } => {
                ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
            }
            _ => ConnectionAddr::Tcp(host.clone(), *port),
        }
    }

    /// Connects with RESP3, or with RESP2 if the server or the user's rights refuse that.
    async fn open(&self, address: &ConnectionAddr, with_login: bool) -> Result<MultiplexedConnection, Fault> {
        if !self.is_old.load(Ordering::Relaxed) {
            match self.greet(address, with_login, ProtocolVersion::RESP3).await {
                Err(error) if is_protocol_refusal(&error) => self.is_old.store(true, Ordering::Relaxed),
                other => return Ok(other?),
            }
        }
        Ok(self.greet(address, with_login, ProtocolVersion::RESP2).await?)
    }

    async fn greet(
        &self,
        address: &ConnectionAddr,
        with_login: bool,
        protocol: ProtocolVersion,
    ) -> Result<MultiplexedConnection, ConnectError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            // Each pipeline has its own timeout.
            .set_response_timeout(None)
            .set_dns_resolver(Names);
        let login = if with_login { login(&self.options)? } else { RedisConnectionInfo::default() };
        let client = client(&self.options, address, login.set_protocol(protocol))?;
        let mut connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        // A server that wants a password accepts a connection without one, and refuses each command.
        let ping = redis::cmd("PING");
        let sign_of_life = tokio::time::timeout(RESPONSE, ping.query_async::<redis::Value>(&mut connection));
        let Ok(answer) = sign_of_life.await else {
            return Err(Fault::new(format!("no answer within {} s", RESPONSE.as_secs())).into());
        };
        match answer {
            // An ACL may forbid PING; the first report shows the rights that matter.
            Err(error) if error.code() != Some("NOPERM") => Err(error.into()),
            _ => Ok(connection),
        }
    }
}

/// Why connecting failed.
enum ConnectError {
    /// An error of the library, from the network or the server.
    Library(RedisError),
    /// An error on this side: a file that cannot be read, a timeout.
    Local(Fault),
}

impl From<RedisError> for ConnectError {
    fn from(error: RedisError) -> Self {
        Self::Library(error)
    }
}

impl From<Fault> for ConnectError {
    fn from(fault: Fault) -> Self {
        Self::Local(fault)
    }
}

impl From<ConnectError> for Fault {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Library(error) => error.into(),
            ConnectError::Local(fault) => fault,
        }
    }
}

/// Returns whether a server refuses RESP3, and not the login in its greeting.
fn is_protocol_refusal(error: &ConnectError) -> bool {
    let ConnectError::Library(error) = error else { return false };
    matches!(error.code(), Some("NOPROTO" | "NOPERM"))
        || error.kind() == ErrorKind::RESP3NotSupported
        || error.detail().is_some_and(|detail| detail.contains("unknown command"))
}

fn client(options: &ValkeyOptions, address: &ConnectionAddr, login: RedisConnectionInfo) -> Result<Client, Fault> {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(UNACKNOWLEDGED);
    let info = address.clone().into_connection_info()?.set_tcp_settings(tcp).set_redis_settings(login);
    match address {
        ConnectionAddr::TcpTls { .. } => Ok(Client::build_with_tls(info, certificates(options)?)?),
        _ => Ok(Client::open(info)?),
    }
}

fn login(options: &ValkeyOptions) -> Result<RedisConnectionInfo, Fault> {
    let target = &options.target;
    let mut login = RedisConnectionInfo::default().set_db(options.db.or(target.db).unwrap_or(0));
    if let Some(name) = options.username.as_ref().or(target.username.as_ref()) {
        login = login.set_username(name);
    }
    let from_file = options.password_file.as_deref().map(password).transpose()?;
    if let Some(password) = from_file.as_ref().or(options.password.as_ref()).or(target.password.as_ref()) {
        login = login.set_password(password.reveal());
    }
    Ok(login)
}

fn password(path: &Path) -> Result<Secret, Fault> {
    let text =
        String::from_utf8(secret(path)?).map_err(|_| Fault::new(format!("{} is not valid UTF-8", path.display())))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

/// Reads a file that only its owner and group may read.
fn secret(path: &Path) -> Result<Vec<u8>, Fault> {
    secrets::read(path).map_err(|error| Fault::new(error.to_string()))
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| Fault::new(format!("{}: {error}", path.display())))
}

fn certificates(options: &ValkeyOptions) -> Result<TlsCertificates, Fault> {
    let tls = &options.tls;
    let root_cert = tls.ca.as_deref().map(authorities).transpose()?;
    let client_tls = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: secret(key)? }),
        (None, None) => None,
        _ => return Err(Fault::new("VALKEY_TLS_CERT and VALKEY_TLS_KEY belong together")),
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

/// Reads certificate authorities. The library takes a file without any certificate for an empty list, and then trusts
/// nobody.
fn authorities(path: &Path) -> Result<Vec<u8>, Fault> {
    let pem = read(path)?;
    if CertificateDer::pem_slice_iter(&pem).any(|certificate| certificate.is_ok()) {
        Ok(pem)
    } else {
        Err(Fault::new(format!("{} holds no certificate in PEM form", path.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(url: &str) -> ValkeyOptions {
        ValkeyOptions { target: Target::parse(url).unwrap(), ..ValkeyOptions::default() }
    }

    #[test]
    fn a_file_beats_a_variable_beats_the_url() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "from file\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut options = options("valkey://me:from-url@h/3");
        assert_eq!(login(&options).unwrap().password(), Some("from-url"));
        assert_eq!((login(&options).unwrap().username(), login(&options).unwrap().db()), (Some("me"), 3));
        options.password = Some(Secret::new("from variable"));
        options.db = Some(4);
        assert_eq!((login(&options).unwrap().password(), login(&options).unwrap().db()), (Some("from variable"), 4));
        options.password_file = Some(file);
        assert_eq!(login(&options).unwrap().password(), Some("from file"));
        options.password_file = Some("/nonexistent/password".into());
        assert!(login(&options).unwrap_err().text.contains("/nonexistent/password"));
    }

    #[test]
    fn a_file_without_certificates_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let ca = dir.path().join("ca.pem");
        std::fs::write(&ca, "garbage").unwrap();
        let mut options = options("valkeys://h");
        options.tls.ca = Some(ca.clone());
        assert!(certificates(&options).unwrap_err().text.contains("ca.pem holds no certificate"));
        options.tls.ca = None;
        options.tls.cert = Some(ca);
        assert!(certificates(&options).unwrap_err().text.contains("belong together"));
    }
}
