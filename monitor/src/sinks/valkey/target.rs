//! Where Valkey is, as people write it.

use std::fmt;
use std::path::PathBuf;

use url::Url;

/// The port that Valkey listens on when nobody says otherwise.
const PORT: u16 = 6379;

/// A text that must not be seen: in no message, no debug output, no report.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How the server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// By TCP, with TLS or without.
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
        /// Whether TLS is spoken.
        tls: bool,
    },
    /// By a socket in the file system.
    Unix(PathBuf),
    /// Nowhere: nothing is written.
    None,
}

/// A server, and what the URL said besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// How it is reached.
    pub address: Address,
    /// ACL user in the URL.
    pub username: Option<String>,
    /// Password in the URL.
    pub password: Option<Secret>,
    /// Database number in the URL.
    pub db: Option<i64>,
}

/// A URL that names no server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It is no URL.
    #[error("is no URL; write for example valkey://host:6379, valkeys://host:6380, unix:///run/valkey.sock, or none")]
    NoUrl,
    /// Its scheme is not one of ours.
    #[error("has another scheme than valkey, valkeys, redis, rediss or unix")]
    Scheme,
    /// It names no host or path.
    #[error("names no host")]
    NoHost,
    /// What stands where the database number should is none.
    #[error("has something else than a database number behind the host")]
    Db,
    /// It asks for what this version does not do.
    #[error("asks for cluster or sentinel, which this version does not do; name a single server")]
    Topology,
}

impl Target {
    fn at(address: Address) -> Self {
        Self { address, username: None, password: None, db: None }
    }

    /// No server.
    pub fn nowhere() -> Self {
        Self::at(Address::None)
    }

    /// Reads a URL, or `none`.
    ///
    /// # Errors
    /// What is wrong with it. The error never repeats the URL, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text == "none" {
            return Ok(Self::nowhere());
        }
        let url = Url::parse(text).map_err(|_| TargetError::NoUrl)?;
        if url.query_pairs().any(|(key, _)| key == "cluster" || key == "sentinel") {
            return Err(TargetError::Topology);
        }
        let db_of = |text: &str| {
            if text.is_empty() {
                Ok(None)
            } else {
                text.parse().ok().filter(|db| *db >= 0).map(Some).ok_or(TargetError::Db)
            }
        };
        let (address, db) = match url.scheme() {
            "valkey" | "redis" => (tcp(&url, false)?, db_of(url.path().trim_start_matches('/'))?),
            "valkeys" | "rediss" => (tcp(&url, true)?, db_of(url.path().trim_start_matches('/'))?),
            "unix" | "valkey+unix" | "redis+unix" => {
                let path = percent(url.path());
                if path.is_empty() {
                    return Err(TargetError::NoHost);
                }
                let db =
                    url.query_pairs().find(|(key, _)| key == "db").map(|(_, db)| db.into_owned()).unwrap_or_default();
                (Address::Unix(path.into()), db_of(&db)?)
            }
            _ => return Err(TargetError::Scheme),
        };
        let username = Some(percent(url.username())).filter(|name| !name.is_empty());
        Ok(Self { address, username, password: url.password().map(|text| Secret::new(percent(text))), db })
    }

    /// The old agent's two variables. A malformed port is a warning, and the default is used: orchestrators are known
    /// to put `tcp://10.0.0.7:6379` there.
    pub fn from_host_port(host: &str, port: &str, tls: bool, warnings: &mut Vec<String>) -> Self {
        let port = port.parse().ok().filter(|port| *port != 0).unwrap_or_else(|| {
            warnings.push(format!("VALKEY_PORT {port:?} is no port; {PORT} is used"));
            PORT
        });
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Self::at(Address::Tcp { host: host.to_owned(), port, tls })
    }

    /// Whether nothing is to be written.
    pub fn is_none(&self) -> bool {
        self.address == Address::None
    }
}

fn tcp(url: &Url, tls: bool) -> Result<Address, TargetError> {
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(TargetError::NoHost)?;
    let host = percent(host.trim_start_matches('[').trim_end_matches(']'));
    Ok(Address::Tcp { host, port: url.port().unwrap_or(PORT), tls })
}

/// Undoes percent encoding; what is no UTF-8 then is replaced.
fn percent(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let hex = |at: usize| tail.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = &tail[2..];
            }
            _ => {
                bytes.push(first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Without user and password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { host, port, tls } => {
                let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
                write!(f, "{host}:{port}{}", if *tls { " (TLS)" } else { "" })
            }
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::None => f.write_str("nowhere"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tcp(host: &str, port: u16, tls: bool) -> Address {
        Address::Tcp { host: host.into(), port, tls }
    }

    #[test]
    fn urls_of_every_kind_are_read() {
        for (text, address) in [
            ("valkey://h", tcp("h", 6379, false)),
            ("redis://h:1", tcp("h", 1, false)),
            ("valkeys://h:2", tcp("h", 2, true)),
            ("rediss://[::1]:3", tcp("::1", 3, true)),
            ("unix:///run/v%20k.sock", Address::Unix("/run/v k.sock".into())),
            ("none", Address::None),
        ] {
            assert_eq!(Target::parse(text).unwrap().address, address, "{text}");
        }
        let all = Target::parse("valkey://me:p%40ss@h:7/3").unwrap();
        assert_eq!(
            (all.username.as_deref(), all.password.as_ref().map(Secret::reveal), all.db),
            (Some("me"), Some("p@ss"), Some(3))
        );
        assert_eq!(Target::parse("unix:///s?db=4").unwrap().db, Some(4));
    }

    #[test]
    fn bad_urls_are_refused_with_the_reason() {
        for (text, error) in [
            ("h:6379", TargetError::Scheme),
            ("6379", TargetError::NoUrl),
            ("http://h", TargetError::Scheme),
            ("valkey://", TargetError::NoHost),
            ("valkey://h/x", TargetError::Db),
            ("valkey://h/-1", TargetError::Db),
            ("valkey://a,b/?cluster=true", TargetError::Topology),
        ] {
            assert_eq!(Target::parse(text), Err(error), "{text}");
        }
    }

    #[test]
    fn neither_display_nor_debug_shows_a_password() {
        let target = Target::parse("valkeys://me:hunter2@h").unwrap();
        assert!(!format!("{target} {target:?}").contains("hunter2"));
        assert_eq!(target.to_string(), "h:6379 (TLS)");
        assert_eq!(Target::parse("valkey://[::1]").unwrap().to_string(), "[::1]:6379");
    }

    #[test]
    fn a_malformed_port_is_a_warning() {
        let mut warnings = Vec::new();
        for port in ["tcp://10.0.0.7:6379", "0", "70000", "x"] {
            assert_eq!(Target::from_host_port("h", port, false, &mut warnings).address, tcp("h", 6379, false));
        }
        assert_eq!(warnings.len(), 4);
    }

    proptest! {
        #[test]
        fn any_text_is_a_target_or_an_error(text in ".*", tail in ".*") {
            let _total = (Target::parse(&text), Target::parse(&format!("valkey://{tail}")), Target::parse(&format!("unix://{tail}")));
        }
    }
}
