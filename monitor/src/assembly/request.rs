//! The privileges, files and ports that a configuration requests of the host.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::hardening::landlock::AllowedAccess;
use crate::http::Address as ListenAddress;
use crate::preflight::Request;
use crate::valkey::{Address, Topology, ValkeyOptions};

/// Directories that hold the secrets of others, too.
const SHARED_DIRECTORIES: [&str; 8] = ["", "/", "/etc", "/root", "/home", "/run", "/tmp", "/var"];

/// The request of a configuration.
pub(super) fn request(config: &Config) -> Request {
    let valkey = config.valkey.as_ref();
    let listen = config.listen.as_ref().map(|listen| &listen.address);
    let walks_disk = config.disk.interval.is_some();
    let writes_for_valkey =
        |valkey: &ValkeyOptions| valkey.buffer_dir.is_some() || matches!(valkey.target.address, Address::Unix(_));
    let mut access = AllowedAccess::default();
    config.sinks.iter().for_each(|sink| access.extend(sink.access()));
    if let Some(valkey) = valkey {
        access.extend(valkey_access(valkey));
    }
    if let Some(address) = listen {
        access.extend(listen_access(address));
    }
    if walks_disk {
        access.list.push("/".into());
    }
    Request {
        scope: config.scope,
        ebpf: config.ebpf,
        fd_events: config.ebpf_fd_events,
        pin: config.pin.clone(),
        drop_privileges: config.drop_privileges,
        sandbox: config.sandbox.clone(),
        roots: config.roots.clone(),
        walks_disk,
        reads_secrets: valkey.is_some_and(|valkey| valkey.files().next().is_some()),
        writes_files: matches!(listen, Some(ListenAddress::Unix(_))) || valkey.is_some_and(writes_for_valkey),
        access,
    }
}

fn listen_access(address: &ListenAddress) -> AllowedAccess {
    match address {
        ListenAddress::Tcp(address) => AllowedAccess { bind: vec![address.port()], ..AllowedAccess::default() },
        ListenAddress::Unix(path) => {
            AllowedAccess { write: path.parent().map(Path::to_owned).into_iter().collect(), ..AllowedAccess::default() }
        }
    }
}

fn valkey_access(valkey: &ValkeyOptions) -> AllowedAccess {
    let mut access = AllowedAccess {
        // A file may be a link, or be replaced by another one.
        read: valkey.files().flat_map(|file| [file.to_owned(), replaced_in(file)]).collect(),
        write: valkey.buffer_dir.iter().cloned().collect(),
        ..AllowedAccess::default()
    };
    match &valkey.target.address {
        Address::Tcp { hosts, topology: Topology::Any, .. } => {
            access.connect.extend(hosts.iter().map(|(_, port)| *port));
        }
        // The nodes themselves announce the addresses of the others.
        Address::Tcp { .. } => access.connect_anywhere = true,
        Address::Unix(path) => access.read.push(path.clone()),
        Address::None => {}
    }
    access
}

/// The directory in which a file is replaced: its own, unless that holds the secrets of others.
fn replaced_in(file: &Path) -> PathBuf {
    match file.parent() {
        Some(directory) if !SHARED_DIRECTORIES.iter().any(|shared| directory == Path::new(shared)) => {
            directory.to_owned()
        }
        _ => file.to_owned(),
    }
}
