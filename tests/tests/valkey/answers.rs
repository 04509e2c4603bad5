//! Servers with wrong answers.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tests::agent::Agent;

use crate::server::{FAST, WEB};

/// Handles one connection of a fake server.
type Treatment = fn(TcpStream);

/// A server that handles each connection by `treat`, and counts them.
fn fake(treat: Treatment) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let connections = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&connections);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            count.fetch_add(1, Ordering::Relaxed);
            std::thread::spawn(move || treat(stream));
        }
    });
    (port, connections)
}

/// Answers everything with the same bytes.
fn answer(mut stream: TcpStream, bytes: &[u8]) {
    let mut buffer = [0; 65_536];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        // One answer per command, approximately, without parsing: commands begin with an asterisk.
        let commands = buffer.iter().filter(|byte| **byte == b'*').count().min(64);
        if (0..commands).any(|_| stream.write_all(bytes).is_err()) {
            return;
        }
        buffer.fill(0);
    }
}

#[test]
fn whatever_answers_the_agent_stays_alive_and_says_little() {
    let treatments: &[(&str, Treatment)] = &[
        ("silent", |stream| {
            std::thread::sleep(Duration::from_secs(60));
            drop(stream);
        }),
        ("closes at once", drop),
        ("garbage", |stream| answer(stream, b"\x00\xff garbage \r\n\r\n")),
        ("half an answer", |mut stream| {
            _ = stream.write_all(b"$100\r\nhalf");
            std::thread::sleep(Duration::from_secs(60));
        }),
        ("LOADING", |stream| answer(stream, b"-LOADING Valkey is loading the dataset in memory\r\n")),
        ("OOM", |stream| answer(stream, b"-OOM command not allowed when used memory > 'maxmemory'.\r\n")),
        ("READONLY", |stream| answer(stream, b"-READONLY You can't write against a read only replica.\r\n")),
        ("NOAUTH", |stream| answer(stream, b"-NOAUTH Authentication required.\r\n")),
        ("MISCONF", |stream| answer(stream, b"-MISCONF Valkey is configured to save RDB snapshots\r\n")),
        ("a long error", |stream| answer(stream, &[b"-ERR ".as_slice(), &[b'x'; 100_000], b"\r\n"].concat())),
    ];
    let mut running: Vec<_> = treatments
        .iter()
        .map(|(name, treat)| {
            let (port, connections) = fake(*treat);
            (*name, Agent::start(port, FAST, &[WEB]), connections)
        })
        .collect();
    std::thread::sleep(Duration::from_secs(12));
    for (name, agent, connections) in &mut running {
        assert!(agent.is_alive(), "{name}: {}", agent.said());
        let said = agent.said();
        assert!(said.contains("Error storing metrics"), "{name}: {said}");
        assert!(!said.contains("panicked"), "{name}: {said}");
        // A cause that alternates between two texts may be logged each time; a hundred lines are a flood.
        assert!(said.lines().count() < 20, "{name}: {said}");
        assert!(said.lines().all(|line| line.chars().count() < 400), "{name}: {said}");
        assert!((1..60).contains(&connections.load(Ordering::Relaxed)), "{name}: {connections:?} connections");
    }
    for (name, agent, _) in running {
        let ended = agent.end(libc::SIGTERM);
        assert_eq!(ended.status.code(), Some(0), "{name}");
        assert!(ended.took < Duration::from_millis(1500), "{name}: {:?}", ended.took);
    }
}
