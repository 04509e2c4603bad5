//! A Valkey server that can be broken, and its proxy.

use std::net::TcpStream;
use std::time::Duration;

use tests::certificates::Certificates;
use tests::proxy::{Mode, Proxy};
use tests::valkey::Valkey;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// A server, and its proxy.
pub(crate) struct Stage {
    pub(crate) valkey: Valkey,
    pub(crate) proxy: Option<Proxy>,
    /// A connection that was opened before any fault.
    pub(crate) admin: redis::Connection,
    pub(crate) idle: Vec<TcpStream>,
    pub(crate) certificates: Option<(Certificates, u16)>,
}

impl Stage {
    pub(crate) fn run(&mut self, words: &[&str]) -> redis::Value {
        let (name, arguments) = words.split_first().unwrap();
        redis::cmd(name).arg(arguments).query(&mut self.admin).unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.proxy.as_ref().expect("no proxy").set(mode);
    }

    /// Makes the server show a certificate to new connections.
    pub(crate) fn show(&mut self, name: &str) {
        let (made, _) = self.certificates.as_ref().expect("no certificates");
        let (cert, key) = (made.text(&format!("{name}.pem")), made.text(&format!("{name}.key")));
        self.run(&["CONFIG", "SET", "tls-cert-file", &cert, "tls-key-file", &key]);
        self.disconnect();
    }

    /// Closes the connections of all others.
    pub(crate) fn disconnect(&mut self) {
        self.run(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]);
    }
}
