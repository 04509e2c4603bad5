//! One connection, and what its errors mean.
//!
//! The library's own reconnecting connection is not used: it stays for ever on a connection that a partition has cut,
//! and for ever refuses after one failed authentication. Here every error that is not an answer of the server ends
//! the connection, and the next attempt begins anew with what the password and certificate files then say.

use std::path::Path;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::{TcpSettings, socket2::TcpKeepalive};
use redis::{AsyncConnectionConfig, Client, ClientTlsConfig, ConnectionAddr, ErrorKind, IntoConnectionInfo};
use redis::{RedisConnectionInfo, RedisError, ServerErrorKind, TlsCertificates};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::resolve::Names;
use super::target::Address;
use super::{Secret, ValkeyOptions};
use crate::sinks::{Retry, SinkError};

const CONNECT: Duration = Duration::from_secs(2);
const RESPONSE: Duration = Duration::from_secs(3);
/// Connecting, authenticating and asking for a sign of life together.
const ATTEMPT: Duration = Duration::from_millis(4500);
/// When the kernel gives up on data that nobody acknowledges; its own limit is a quarter of an hour.
const UNACKNOWLEDGED: Duration = Duration::from_secs(10);
/// An error text of the library can be hundreds of kilobytes long.
const LONGEST_TEXT: usize = 200;

/// Why there is no connection, or none any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct Fault {
    pub(super) text: String,
    pub(super) retry: Retry,
    /// Whether the connection is still good: the server answered, it just said no.
    pub(super) answered: bool,
}

impl Fault {
    fn new(text: impl Into<String>, retry: Retry) -> Self {
        Self { text: text.into(), retry, answered: false }
    }

    /// An answer that fits no question.
    pub(super) fn garbled() -> Self {
        Self::new("the server's answers do not match what it was sent", Retry::Soon)
    }

    /// Whether the server will go on refusing: a missing right, an unknown command.
    pub(super) fn is_forbidden(&self) -> bool {
        self.answered && (self.retry == Retry::Slowly || self.text.contains("unknown command"))
    }

    /// As the failure of a sink, said with the words that operators look for.
    pub(super) fn storing(&self, what: &str) -> SinkError {
        SinkError { text: format!("Error storing {what}: {}", self.text), retry: self.retry }
    }
}

impl From<RedisError> for Fault {
    fn from(error: RedisError) -> Self {
        let code = error.code().unwrap_or_default();
        let forbidden = error.kind() == ErrorKind::AuthenticationFailed
            || matches!(code, "NOAUTH" | "WRONGPASS" | "NOPERM")
            || error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm);
        let answered = matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension);
        // A replica may have taken the master's place under the same name; a lost login comes back only with a new
        // connection.
        let stale = matches!(code, "NOAUTH" | "READONLY" | "MASTERDOWN");
        Self {
            text: short(&format!("{}{}", message(&error), hint(&error, code))),
            retry: if forbidden { Retry::Slowly } else { Retry::Soon },
            answered: answered && !stale,
        }
    }
}

/// What happened. Of an error that was found on this side, the library would add its own name for the kind.
fn message(error: &RedisError) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::Client, Some(detail)) => detail.to_owned(),
        _ => error.to_string(),
    }
}

/// What an operator would have to know besides.
fn hint(error: &RedisError, code: &str) -> &'static str {
    match code {
        "NOAUTH" => " (set VALKEY_PASSWORD_FILE or VALKEY_PASSWORD)",
        "WRONGPASS" => " (check VALKEY_USERNAME and the password)",
        "NOPERM" => " (the ACL user lacks a right; the README lists what is needed)",
        "MOVED" | "CROSSSLOT" => " (the server is part of a cluster, which this version cannot write to)",
        _ if error.kind() == ErrorKind::AuthenticationFailed => " (check VALKEY_USERNAME and the password)",
        _ if error.is_connection_dropped() && !error.is_connection_refusal() => {
            " (the server closed the connection: too many clients, or a TLS port?)"
        }
        _ => "",
    }
}

/// At most so much of a text as fits a line.
fn short(text: &str) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    match line.char_indices().nth(LONGEST_TEXT) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

/// Connects, authenticates and asks for a sign of life.
pub(crate) async fn connect(options: &ValkeyOptions) -> Result<MultiplexedConnection, Fault> {
    match tokio::time::timeout(ATTEMPT, attempt(options)).await {
        Ok(connection) => connection,
        Err(_) => Err(Fault::new(format!("{} does not answer", options.target), Retry::Soon)),
    }
}

async fn attempt(options: &ValkeyOptions) -> Result<MultiplexedConnection, Fault> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(CONNECT))
        .set_response_timeout(Some(RESPONSE))
        .set_dns_resolver(Names);
    let mut connection = client(options)?.get_multiplexed_async_connection_with_config(&config).await?;
    // A server that wants a password accepts a connection without one, and refuses each command.
    match redis::cmd("PING").query_async::<redis::Value>(&mut connection).await {
        // An ACL may forbid even this; what counts is asked with the first report.
        Err(error) if error.code() != Some("NOPERM") => Err(error.into()),
        _ => Ok(connection),
    }
}

fn client(options: &ValkeyOptions) -> Result<Client, Fault> {
    let address = match &options.target.address {
        Address::Tcp { host, port, tls: false } => ConnectionAddr::Tcp(host.clone(), *port),
        Address::Tcp { host, port, tls: true } => {
            ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None }
        }
        Address::Unix(path) => ConnectionAddr::Unix(path.clone()),
        Address::None => return Err(Fault::new("no server is named", Retry::Slowly)),
    };
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(15)).with_interval(Duration::from_secs(5)).with_retries(3);
    let tcp = TcpSettings::default().set_nodelay(true).set_keepalive(keepalive).set_user_timeout(UNACKNOWLEDGED);
    let info = address.into_connection_info()?.set_tcp_settings(tcp).set_redis_settings(login(options)?);
    match &options.target.address {
        Address::Tcp { tls: true, .. } => Ok(Client::build_with_tls(info, certificates(options)?)?),
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
    let text = String::from_utf8(read(path)?)
        .map_err(|_| Fault::new(format!("{} is not valid UTF-8", path.display()), Retry::Slowly))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| Fault::new(format!("{}: {error}", path.display()), Retry::Slowly))
}

fn certificates(options: &ValkeyOptions) -> Result<TlsCertificates, Fault> {
    let tls = &options.tls;
    let root_cert = tls.ca.as_deref().map(authorities).transpose()?;
    let client_tls = match (&tls.cert, &tls.key) {
        (Some(cert), Some(key)) => Some(ClientTlsConfig { client_cert: read(cert)?, client_key: read(key)? }),
        (None, None) => None,
        _ => return Err(Fault::new("VALKEY_TLS_CERT and VALKEY_TLS_KEY belong together", Retry::Slowly)),
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

/// The library takes a file without any certificate for an empty list of authorities, and then trusts nobody.
fn authorities(path: &Path) -> Result<Vec<u8>, Fault> {
    let pem = read(path)?;
    if CertificateDer::pem_slice_iter(&pem).any(|certificate| certificate.is_ok()) {
        Ok(pem)
    } else {
        Err(Fault::new(format!("{} holds no certificate in PEM form", path.display()), Retry::Slowly))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::valkey::Target;

    fn options(url: &str) -> ValkeyOptions {
        ValkeyOptions { target: Target::parse(url).unwrap(), ..ValkeyOptions::default() }
    }

    #[test]
    fn a_text_is_cut_and_has_no_control_characters() {
        assert_eq!(short("a\nb\u{1b}[0m"), "a b [0m");
        assert_eq!(short(&"ä".repeat(1000)).chars().count(), LONGEST_TEXT + 1);
    }

    #[test]
    fn a_file_beats_a_variable_beats_the_url() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "from file\n").unwrap();
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
        assert!(client(&options).unwrap_err().text.contains("ca.pem holds no certificate"));
        options.tls.ca = None;
        options.tls.cert = Some(ca);
        assert!(client(&options).unwrap_err().text.contains("belong together"));
    }

    #[test]
    fn a_wrong_password_is_tried_again_slowly_and_an_outage_soon() {
        let denied = RedisError::from((ErrorKind::AuthenticationFailed, "denied"));
        assert_eq!(Fault::from(denied).retry, Retry::Slowly);
        let refused = RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert_eq!((Fault::from(refused.clone()).retry, Fault::from(refused).answered), (Retry::Soon, false));
    }

    #[tokio::test]
    async fn a_port_where_nobody_listens_is_an_error_at_once() {
        let error = connect(&options("valkey://127.0.0.1:1")).await.unwrap_err();
        assert!(error.text.contains("refused"), "{error}");
    }
}
