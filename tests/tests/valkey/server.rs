//! A server of the test's own, and reading what an agent wrote there.

use std::time::Duration;

use tests::oracle;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(15);
pub(crate) const FAST: &[&str] = &["--interval", "200ms", "--disk-interval", "0s"];
pub(crate) const WEB: (&str, &str) = ("CONTAINER_NAME", "web");

macro_rules! valkey {
    ($($argument:expr),*) => {
        match Valkey::start(&[$($argument),*]) {
            Some(valkey) => valkey,
            None => skip!("valkey-server is not installed"),
        }
    };
}

pub(crate) fn judged(bytes: &[u8]) -> oracle::Judged {
    oracle::report("web", bytes).unwrap()
}

pub(crate) fn get(connection: &mut redis::Connection, key: &str) -> Option<Vec<u8>> {
    redis::cmd("GET").arg(key).query(connection).unwrap()
}
