//! Requests to the server of the page and the API.
#![no_main]

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use libfuzzer_sys::fuzz_target;
use monitor::publish::{self, Publisher};
use monitor::report::Report;
use monitor::http::{self, About, Address, ListenOptions};
use monitor::snapshot::{Cgroup, CgroupId, Scope, Snapshot, Stamp};

fn now() -> Stamp {
    Stamp { mono: Duration::from_secs(1), wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) }
}

/// The server's address; it listens as long as the publisher lives.
static SERVER: LazyLock<(PathBuf, Publisher)> = LazyLock::new(|| {
    fuzz::outlive_closed_sockets();
    let path = std::env::temp_dir().join(format!("system-monitor-fuzz-{}", std::process::id()));
    let about =
        About { scope: Some(Scope::SelfContainer), interval: Duration::from_secs(3600), programs: Vec::new(), sinks: [].into() };
    let (publisher, reports) = publish::channel();
    let listen = ListenOptions { address: Address::Unix(path.clone()), ..ListenOptions::default() };
    http::start(&listen, None, about, reports, None, now).expect("a server");
    let mut snapshot = Snapshot::new(now());
    snapshot.cgroups.insert(CgroupId(1), Cgroup::default());
    publisher.publish(Report::new(None, &snapshot, Duration::ZERO));
    while UnixStream::connect(&path).is_err() {
        std::thread::sleep(Duration::from_millis(10));
    }
    (path, publisher)
});

fuzz_target!(|bytes: &[u8]| {
    let (socket, _) = LazyLock::force(&SERVER);
    let Ok(mut stream) = UnixStream::connect(socket) else { return };
    stream.set_read_timeout(Some(Duration::from_millis(50))).expect("a socket has one");
    // The server may close the connection before the end.
    if stream.write_all(bytes).and_then(|()| stream.shutdown(Shutdown::Write)).is_err() {
        return;
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    // A stream of events has no end.
    while let Ok(length) = stream.read(&mut buffer)
        && length > 0
        && answer.len() < 65536
    {
        answer.extend_from_slice(&buffer[..length]);
    }
    assert!(!answer.starts_with(b"HTTP/1.1 500"), "{}", String::from_utf8_lossy(&answer));
});
