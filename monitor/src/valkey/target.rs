//! URLs of Valkey servers.

use std::fmt;
use std::path::PathBuf;

use url::Url;

/// Default port of Valkey.
const PORT: u16 = 6379;
/// Default port of sentinels.
const SENTINEL_PORT: u16 = 26379;

/// A text that never appears in messages, debug output or reports.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A server's name or address, and its port.
pub type HostPort = (String, u16);

/// The relation of several hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Topology {
    /// They are equal: the first one that answers and takes writes is used.
    Any,
    /// Some nodes of a cluster.
    Cluster,
    /// Sentinels, which know who is the master of this name.
    Sentinel(String),
}

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP address, with TLS or without.
    Tcp {
        /// At least one.
        hosts: Vec<HostPort>,
        /// True for TLS.
        tls: bool,
        /// Their relation.
        topology: Topology,
    },
    /// The path of a unix socket.
    Unix(PathBuf),
    /// No server: nothing is written.
    None,
}

/// A server, with the login and the database in its URL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its address.
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
    /// The database number is malformed.
    #[error("has something else than a database number behind the host")]
    Db,
    /// The query is not supported.
    #[error("asks for something else than cluster=true or sentinel=NAME, or for both")]
    Topology,
    /// A word of the query is not known.
    #[error("has a word behind the question mark that is none of cluster, sentinel and db")]
    Word,
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
    /// The reason. The error never repeats the URL, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text == "none" {
            return Ok(Self::nowhere());
        }
        let (text, others) = one_host(text);
        let url = Url::parse(&text).map_err(|_| TargetError::NoUrl)?;
        let db_of = |text: &str| {
            if text.is_empty() {
                Ok(None)
            } else {
                text.parse().ok().filter(|db| *db >= 0).map(Some).ok_or(TargetError::Db)
            }
        };
        if url.query_pairs().any(|(word, _)| !["cluster", "sentinel", "db"].contains(&&*word)) {
            return Err(TargetError::Word);
        }
        let asked = url.query_pairs().find(|(word, _)| word == "db").map(|(_, db)| db.into_owned());
        let asked = db_of(&asked.unwrap_or_default())?;
        let (address, db) = match url.scheme() {
            "valkey" | "redis" | "valkeys" | "rediss" => {
                let topology = topology(&url)?;
                let port = if matches!(topology, Topology::Sentinel(_)) { SENTINEL_PORT } else { PORT };
                let mut hosts = vec![host(&url, port)?];
                for other in others {
                    let other = Url::parse(&format!("valkey://{other}")).map_err(|_| TargetError::NoUrl)?;
                    hosts.push(host(&other, port)?);
                }
                let tls = url.scheme().ends_with("ys") || url.scheme().ends_with("ss");
                let db = db_of(url.path().trim_start_matches('/'))?;
                if db.is_some() && asked.is_some() && db != asked {
                    return Err(TargetError::Db);
                }
                (Address::Tcp { hosts, tls, topology }, db.or(asked))
            }
            "unix" | "valkey+unix" | "redis+unix" => {
                let path = percent(url.path());
                if path.is_empty() {
                    return Err(TargetError::NoHost);
                }
                (Address::Unix(path.into()), asked)
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
        Self::at(Address::Tcp { hosts: vec![(host.to_owned(), port)], tls, topology: Topology::Any })
    }

    /// Returns the number of hosts.
    pub fn hosts(&self) -> usize {
        match &self.address {
            Address::Tcp { hosts, .. } => hosts.len(),
            Address::Unix(_) => 1,
            Address::None => 0,
        }
    }

    /// Returns whether nothing is written.
    pub fn is_none(&self) -> bool {
        self.address == Address::None
    }
}

/// Splits `a:1,b:2` in the place of a URL's host, which only URLs of databases have, into a URL of the first host, and
/// the other hosts.
fn one_host(text: &str) -> (String, Vec<&str>) {
    let whole = || (text.to_owned(), Vec::new());
    let Some((scheme, rest)) = text.split_once("://") else { return whole() };
    let (authority, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (login, hosts) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    let mut hosts = hosts.split(',');
    match hosts.next() {
        Some(first) => (format!("{scheme}://{login}{first}{tail}"), hosts.collect()),
        None => whole(),
    }
}

fn topology(url: &Url) -> Result<Topology, TargetError> {
    let mut asked = url.query_pairs().filter(|(key, _)| key == "cluster" || key == "sentinel");
    match (asked.next(), asked.next()) {
        (None, _) => Ok(Topology::Any),
        (Some((key, value)), None) if key == "sentinel" && !value.is_empty() => {
            Ok(Topology::Sentinel(value.into_owned()))
        }
        (Some((key, value)), None) if key == "cluster" && value == "true" => Ok(Topology::Cluster),
        _ => Err(TargetError::Topology),
    }
}

fn host(url: &Url, port: u16) -> Result<HostPort, TargetError> {
    let host = url.host_str().filter(|host| !host.is_empty()).ok_or(TargetError::NoHost)?;
    Ok((percent(host.trim_start_matches('[').trim_end_matches(']')), url.port().unwrap_or(port)))
}

/// Decodes percent encoding; invalid UTF-8 is replaced.
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

/// Omits user and password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.address {
            Address::Tcp { hosts, tls, topology } => {
                let hosts: Vec<String> = hosts.iter().map(shown).collect();
                write!(f, "{}", hosts.join(","))?;
                match topology {
                    Topology::Any => {}
                    Topology::Cluster => f.write_str(" (cluster)")?,
                    Topology::Sentinel(name) => write!(f, " (sentinel of {name})")?,
                }
                f.write_str(if *tls { " (TLS)" } else { "" })
            }
            Address::Unix(path) => write!(f, "{}", path.display()),
            Address::None => f.write_str("nowhere"),
        }
    }
}

/// A host and its port as people write them.
pub(super) fn shown((host, port): &HostPort) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn several(hosts: &[(&str, u16)], tls: bool, topology: Topology) -> Address {
        let hosts = hosts.iter().map(|(host, port)| ((*host).to_owned(), *port)).collect();
        Address::Tcp { hosts, tls, topology }
    }

    fn tcp(host: &str, port: u16, tls: bool) -> Address {
        several(&[(host, port)], tls, Topology::Any)
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
        for (text, db) in [("unix:///s?db=4", 4), ("valkey://h?db=3", 3), ("valkey://h/3?db=3", 3)] {
            assert_eq!(Target::parse(text).unwrap().db, Some(db), "{text}");
        }
    }

    #[test]
    fn several_hosts_are_read_with_what_they_are() {
        let sentinel = Topology::Sentinel("main".to_owned());
        for (text, address) in [
            ("valkey://a,b:1", several(&[("a", 6379), ("b", 1)], false, Topology::Any)),
            ("valkeys://u:p@a:1,[::1]:2/?cluster=true", several(&[("a", 1), ("::1", 2)], true, Topology::Cluster)),
            ("redis://a,b:7/2?sentinel=main", several(&[("a", 26379), ("b", 7)], false, sentinel)),
        ] {
            assert_eq!(Target::parse(text).unwrap().address, address, "{text}");
        }
        let target = Target::parse("valkeys://u:p@a:1,[::1]:2/?cluster=true").unwrap();
        assert_eq!(target.to_string(), "a:1,[::1]:2 (cluster) (TLS)");
        assert_eq!(target.password.unwrap().reveal(), "p");
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
            ("valkey://a,b/?cluster=yes", TargetError::Topology),
            ("valkey://a/?sentinel=", TargetError::Topology),
            ("valkey://a/?sentinel=m&cluster=true", TargetError::Topology),
            ("valkey://a,/", TargetError::NoHost),
            ("valkey://h?db=x", TargetError::Db),
            ("valkey://h/1?db=2", TargetError::Db),
            ("valkey://h?protocol=resp3", TargetError::Word),
            ("unix:///s?d=4", TargetError::Word),
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
