//! Names of containers where several machines write to one server: each name belongs to one machine.
//!
//! The registry asks for names, the sink of Valkey claims them there (`system:owner:{name}`), and the answers decide
//! the names that all outputs show. Neither waits for the other.

mod step;
mod table;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use ring::digest::{SHA256, digest};
use tokio::sync::Notify;

pub(crate) use self::step::{Reply, Step, StepKind};
pub(crate) use self::table::{EXPIRY, OwnerTable};
use super::Roots;
use super::roots::host_root;
use crate::foreign;
use crate::hostname::hostname;
use crate::mutex::lock;

/// Longest content of `/etc/machine-id` that is read; it has 33 bytes (`machine-id(5)`).
const LONGEST_ID: usize = 256;
/// Bytes of the digest that stand for a machine.
const DIGEST: usize = 8;

/// The names of this machine, shared by the registry and the sink.
#[derive(Clone, Debug)]
pub struct Owners(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    table: Mutex<OwnerTable>,
    /// Notified when a name is asked for.
    wanted: Notify,
}

impl Owners {
    /// Nothing is claimed yet. The machine is told from others by its name and its id.
    pub fn new(roots: &Roots) -> Self {
        let host = hostname(&roots.proc);
        let id = foreign::read(&host_root(roots).join("etc/machine-id"), LONGEST_ID).unwrap_or_default();
        // Some systems have no id; their names differ.
        let id = if id.trim_ascii().is_empty() { host.as_bytes() } else { id.trim_ascii() };
        let table = Mutex::new(OwnerTable::new(&host, &fingerprint(id)));
        Self(Arc::new(Shared { table, wanted: Notify::new() }))
    }

    /// Returns the content of the keys that are ours, and the names that are claimed for a container.
    pub(crate) fn names(&self, name: &str) -> (String, Vec<String>) {
        let table = self.table();
        (table.value(), table.candidates(name).collect())
    }

    /// Asks for names.
    pub(crate) fn want<'a>(&self, names: impl IntoIterator<Item = &'a str>) {
        let mut table = self.table();
        let mut is_new = false;
        names.into_iter().for_each(|name| is_new |= table.want(name));
        if is_new {
            self.0.wanted.notify_one();
        }
    }

    /// Records the machine's name, where it has changed.
    pub(super) fn set_hostname(&self, host: &str) {
        self.table().set_hostname(host);
        self.0.wanted.notify_one();
    }

    /// Gives up a name, because its container has ended; returns the name under which it was reported, if that was
    /// claimed.
    pub(crate) fn end(&self, name: &str) -> Option<String> {
        self.table().end(name)
    }

    /// Gives up all other names.
    pub(super) fn retain(&self, names: &BTreeSet<&str>) {
        self.table().retain(names);
    }

    /// Returns the name under which a container is reported; `None` while the answer is awaited.
    pub(super) fn reported(&self, name: &str, now: Duration) -> Option<String> {
        self.table().reported(name, now).map(str::to_owned)
    }

    /// Locks the table.
    pub(crate) fn table(&self) -> MutexGuard<'_, OwnerTable> {
        lock(&self.0.table)
    }

    /// Waits until a name is asked for. Cancelling it loses nothing.
    pub(crate) async fn wanted(&self) {
        self.0.wanted.notified().await;
    }
}

/// Returns the first 16 hexadecimal digits of the SHA-256 digest: the id itself is confidential (`machine-id(5)`).
fn fingerprint(id: &[u8]) -> String {
    let mut text = String::with_capacity(2 * DIGEST);
    for byte in digest(&SHA256, id).as_ref().iter().take(DIGEST) {
        // Writing to a text cannot fail.
        _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_machine_is_told_by_its_name_and_the_digest_of_its_id() {
        assert_eq!(fingerprint(b"abc"), "ba7816bf8f01cfea", "FIPS 180-2, appendix B.1");
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots { proc: dir.path().to_owned(), ..Roots::default() };
        fs::create_dir_all(dir.path().join("sys/kernel")).unwrap();
        fs::create_dir_all(dir.path().join("1/root/etc")).unwrap();
        fs::write(dir.path().join("sys/kernel/hostname"), "hosta\n").unwrap();
        assert_eq!(Owners::new(&roots).table().value(), format!("hosta {}", fingerprint(b"hosta")));
        fs::write(dir.path().join("1/root/etc/machine-id"), "abc\n").unwrap();
        assert_eq!(Owners::new(&roots).table().value(), "hosta ba7816bf8f01cfea");
    }
}
