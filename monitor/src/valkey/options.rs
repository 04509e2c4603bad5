//! Address, login and retention of Valkey.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::target::{Secret, Target};

/// Address, login and retention of Valkey.
#[derive(Clone, Debug)]
pub struct ValkeyOptions {
    /// The server.
    pub target: Target,
    /// ACL user.
    pub username: Option<String>,
    /// Password.
    pub password: Option<Secret>,
    /// File that holds the password; read at each connect.
    pub password_file: Option<PathBuf>,
    /// Database number.
    pub db: Option<i64>,
    /// Certificates.
    pub tls: TlsOptions,
    /// Expiry of the report.
    pub metrics_ttl: Duration,
    /// Length of the history, if one is kept.
    pub history: Option<Duration>,
    /// Time for which history and log entries wait for a server that is away.
    pub buffer: Duration,
    /// Directory for a copy of the backlog on disk, if there is one.
    pub buffer_dir: Option<PathBuf>,
    /// Time between two heartbeats.
    pub log_interval: Duration,
    /// Newest log entries that are kept.
    pub log_keys: usize,
    /// Expiry of a log entry.
    pub log_ttl: Duration,
    /// True if log entries of earlier runs are removed.
    pub log_cleanup: bool,
}

impl ValkeyOptions {
    /// The files that are read at each connect.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        let TlsOptions { ca, cert, key } = &self.tls;
        [&self.password_file, ca, cert, key].into_iter().flatten().map(PathBuf::as_path)
    }
}

impl Default for ValkeyOptions {
    fn default() -> Self {
        Self {
            target: Target::nowhere(),
            username: None,
            password: None,
            password_file: None,
            db: None,
            tls: TlsOptions::default(),
            metrics_ttl: Duration::from_secs(30),
            history: None,
            buffer: Duration::from_secs(600),
            buffer_dir: None,
            log_interval: Duration::from_secs(30),
            log_keys: 3,
            log_ttl: Duration::from_secs(24 * 3600),
            log_cleanup: true,
        }
    }
}

/// Certificates, as files.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Authorities to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// Client certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
}
