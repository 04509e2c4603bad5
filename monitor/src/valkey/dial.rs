//! One connection to one server.
//!
//! The library's own reconnecting connection is not used: it never gives up a connection that a partition has cut, and
//! refuses for ever after one failed authentication. Here every error that is not an answer of the server ends the
//! connection, and the next attempt reads the password and certificate files again. Sockets and TLS are opened here
//! too, so that the answers are bounded before the library sees them.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redis::{Cmd, ProtocolVersion};

use super::answers::Limits;
use super::connection::Connection;
use super::fault::{Fault, FaultKind};
use super::options::ValkeyOptions;
use super::pipeline::together;
use super::socket;
use super::target::{Address, HostPort, Secret, Target};
use super::tls;
use crate::secrets;
use crate::timer;

/// Timeouts of connecting, and of the greeting.
const CONNECT: Duration = Duration::from_secs(2);
const RESPONSE: Duration = Duration::from_secs(3);

/// Opens connections.
#[derive(Debug)]
pub(super) struct Dial {
    options: ValkeyOptions,
    limits: Limits,
    /// True once the server has taken RESP2 after it had failed with RESP3.
    is_old: AtomicBool,
}

/// The other end.
#[derive(Clone, Copy)]
enum Peer<'a> {
    Host(&'a HostPort),
    Socket(&'a Path),
}

/// User, password and database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Login {
    username: Option<String>,
    password: Option<Secret>,
    db: i64,
}

/// Reason for which a connection failed.
struct Refusal {
    fault: Fault,
    /// True if the server may take an older greeting.
    may_be_old: bool,
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self { fault, may_be_old: false }
    }
}

impl Dial {
    /// Creates a dialer with these options.
    pub(super) fn new(options: ValkeyOptions, limits: Limits) -> Self {
        Self { options, limits, is_old: AtomicBool::new(false) }
    }

    /// The target of connections.
    pub(super) fn target(&self) -> &Target {
        &self.options.target
    }

    /// Connects to a host, authenticates and sends a PING.
    pub(super) async fn host(&self, host: &HostPort) -> Result<Connection, Fault> {
        self.open(Peer::Host(host), &login(&self.options)?).await
    }

    /// Connects to a sentinel.
    pub(super) async fn sentinel(&self, host: &HostPort, login: &Login) -> Result<Connection, Fault> {
        self.open(Peer::Host(host), login).await
    }

    /// Connects by a socket in the file system.
    pub(super) async fn socket(&self, path: &Path) -> Result<Connection, Fault> {
        self.open(Peer::Socket(path), &login(&self.options)?).await
    }

    /// The logins to try at a sentinel: the URL's, if the servers have another one; none; the one of the servers.
    pub(super) fn sentinel_logins(&self) -> Result<Vec<Login>, Fault> {
        let Target { username, password, .. } = &self.options.target;
        let servers = Login { db: 0, ..login(&self.options)? };
        let own = Login { username: username.clone(), password: password.clone(), db: 0 };
        let mut logins = vec![Login::default()];
        if servers.password.is_some() {
            logins.push(servers.clone());
        }
        if own.password.is_some() && own.password != servers.password {
            logins.insert(0, own);
        }
        Ok(logins)
    }

    /// Connects with RESP3, or with RESP2 if that fails: proxies and old servers refuse the greeting in many ways, or
    /// close the connection.
    async fn open(&self, peer: Peer<'_>, login: &Login) -> Result<Connection, Fault> {
        if self.is_old.load(Ordering::Relaxed) {
            return self.greet(peer, login, ProtocolVersion::RESP2).await.map_err(|refusal| refusal.fault);
        }
        let first = match self.greet(peer, login, ProtocolVersion::RESP3).await {
            Ok(connection) => return Ok(connection),
            Err(refusal) if !refusal.may_be_old => return Err(refusal.fault),
            Err(refusal) => refusal.fault,
        };
        match self.greet(peer, login, ProtocolVersion::RESP2).await {
            Ok(connection) => {
                self.is_old.store(true, Ordering::Relaxed);
                Ok(connection)
            }
            Err(second) if second.fault.kind == FaultKind::Silence => Err(first),
            Err(second) => Err(second.fault),
        }
    }

    async fn greet(&self, peer: Peer<'_>, login: &Login, protocol: ProtocolVersion) -> Result<Connection, Refusal> {
        let connecting = tokio::time::timeout(CONNECT, self.connect(peer));
        let mut connection =
            connecting.await.unwrap_or_else(|_| Err(Fault::new("connecting takes longer than 2 s")))?;
        let greeting = greeting(login, protocol);
        let requests: Vec<_> = greeting.iter().cloned().map(Into::into).collect();
        let began = timer::now();
        let answers = together(&mut connection, &requests, RESPONSE).await;
        let is_silent = timer::now() - began >= RESPONSE;
        for (command, answer) in greeting.iter().zip(answers) {
            let Err(mut fault) = answer else { continue };
            let name = command.args_iter().next();
            let is = |word: &[u8]| matches!(name, Some(redis::Arg::Simple(name)) if name == word);
            // An ACL may forbid PING; the first report shows the rights that matter.
            if is(b"PING") && fault.kind == FaultKind::Forbidden {
                continue;
            }
            // A server that takes nobody says why, and closes the connection.
            if fault.kind == FaultKind::Silence
                && let Some(words) = connection.last_error()
            {
                fault.text = words;
            }
            // A server that knows logins knows RESP3.
            let is_greeted = is_silent || is(b"SELECT") || fault.text.starts_with("WRONGPASS");
            let may_be_old = protocol == ProtocolVersion::RESP3 && !is_greeted;
            return Err(Refusal { fault, may_be_old });
        }
        Ok(connection)
    }

    async fn connect(&self, peer: Peer<'_>) -> Result<Connection, Fault> {
        let socket = match (peer, &self.target().address) {
            (Peer::Socket(path), _) => socket::unix(path).await?,
            (Peer::Host(host), Address::Tcp { tls: true, .. }) => {
                socket::tcp(host, Some(&tls::connector(&self.options.tls)?)).await?
            }
            (Peer::Host(host), _) => socket::tcp(host, None).await?,
        };
        Ok(Connection::new(socket, self.limits).await?)
    }
}

/// The commands that begin a connection. A server that wants a password accepts a connection without one, and refuses
/// each command, so the last one is a PING.
fn greeting(login: &Login, protocol: ProtocolVersion) -> Vec<Cmd> {
    let mut commands = Vec::new();
    let password = login.password.as_ref().map(Secret::reveal);
    if protocol == ProtocolVersion::RESP3 {
        let mut hello = redis::cmd("HELLO");
        hello.arg(3);
        if let Some(password) = password {
            hello.arg("AUTH").arg(login.username.as_deref().unwrap_or("default")).arg(password);
        }
        commands.push(hello);
    } else if let Some(password) = password {
        commands.push(redis::cmd("AUTH").arg(&login.username).arg(password).to_owned());
    }
    if login.db != 0 {
        commands.push(redis::cmd("SELECT").arg(login.db).to_owned());
    }
    commands.push(redis::cmd("PING"));
    commands
}

fn login(options: &ValkeyOptions) -> Result<Login, Fault> {
    let target = &options.target;
    let from_file = options.password_file.as_deref().map(password).transpose()?;
    Ok(Login {
        username: options.username.as_ref().or(target.username.as_ref()).cloned(),
        password: from_file.or_else(|| options.password.clone()).or_else(|| target.password.clone()),
        db: options.db.or(target.db).unwrap_or(0),
    })
}

fn password(path: &Path) -> Result<Secret, Fault> {
    let bytes = secrets::read(path).map_err(|error| Fault::new(error.to_string()))?;
    let text = String::from_utf8(bytes).map_err(|_| Fault::new(format!("{} is not valid UTF-8", path.display())))?;
    Ok(Secret::new(text.trim_end_matches(['\r', '\n'])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::valkey::Request;

    fn options(url: &str) -> ValkeyOptions {
        ValkeyOptions { target: Target::parse(url).unwrap(), ..ValkeyOptions::default() }
    }

    fn shown(login: &Login) -> (Option<&str>, Option<&str>, i64) {
        (login.username.as_deref(), login.password.as_ref().map(Secret::reveal), login.db)
    }

    #[test]
    fn a_file_beats_a_variable_beats_the_url() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("password");
        std::fs::write(&file, "from file\n").unwrap();
        std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let mut options = options("valkey://me:from-url@h/3");
        assert_eq!(shown(&login(&options).unwrap()), (Some("me"), Some("from-url"), 3));
        options.password = Some(Secret::new("from variable"));
        options.db = Some(4);
        assert_eq!(shown(&login(&options).unwrap()), (Some("me"), Some("from variable"), 4));
        options.password_file = Some(file);
        assert_eq!(shown(&login(&options).unwrap()), (Some("me"), Some("from file"), 4));
        options.password_file = Some("/nonexistent/password".into());
        assert!(login(&options).unwrap_err().text.contains("/nonexistent/password"));
    }

    #[test]
    fn the_greeting_has_the_login_in_either_protocol() {
        let of = |login: &Login, protocol| -> Vec<String> {
            greeting(login, protocol).into_iter().map(|command| Request::from(command).text()).collect()
        };
        let nobody = Login::default();
        assert_eq!(of(&nobody, ProtocolVersion::RESP3), ["HELLO 3", "PING"]);
        assert_eq!(of(&nobody, ProtocolVersion::RESP2), ["PING"]);
        let unnamed = Login { password: Some(Secret::new("p")), db: 3, username: None };
        assert_eq!(of(&unnamed, ProtocolVersion::RESP3), ["HELLO 3 AUTH default p", "SELECT 3", "PING"]);
        assert_eq!(of(&unnamed, ProtocolVersion::RESP2), ["AUTH p", "SELECT 3", "PING"]);
        let named = Login { username: Some("u".to_owned()), ..unnamed };
        assert_eq!(of(&named, ProtocolVersion::RESP2)[0], "AUTH u p");
    }

    #[test]
    fn a_sentinel_is_asked_with_its_own_login_then_with_none_then_with_that_of_the_servers() {
        let logins = |options: &ValkeyOptions| -> Vec<Option<String>> {
            let logins = Dial::new(options.clone(), Limits::WRITER).sentinel_logins().unwrap();
            logins.iter().map(|login| login.password.as_ref().map(|password| password.reveal().to_owned())).collect()
        };
        let some = |text: &str| Some(text.to_owned());
        let mut options = options("valkey://:own@h/?sentinel=main");
        assert_eq!(logins(&options), [None, some("own")]);
        options.password = Some(Secret::new("servers"));
        assert_eq!(logins(&options), [some("own"), None, some("servers")]);
        options.target.password = None;
        assert_eq!(logins(&options), [None, some("servers")]);
    }
}
