//! Clients without the token, from other origins, slow ones, and too many.

use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use tests::eventually;
use tests::http::{Events, ask, connect, get, get_with};

use crate::server::{TIMEOUT, listening};

#[test]
fn a_token_is_asked_for_where_strangers_can_reach() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("token");
    std::fs::write(&path, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let (agent, port) =
        listening(OsStr::new("web"), &["--listen-token-file", path.to_str().unwrap(), "--log", "trace"]);
    for path in ["/metrics", "/api/v1/containers", "/api/v1/stream", "/api/v1/openapi.json"] {
        let answer = get(port, path);
        assert!(
            answer.status == 401 && answer.is_problem() && answer.header("www-authenticate") == "Bearer",
            "{answer:?}"
        );
        let wrong = get_with(port, path, &[("Authorization", "Bearer 0123456789abcdef0123456789abcdeF")]);
        assert_eq!(wrong.status, 401);
    }
    let right = [("Authorization", "Bearer 0123456789abcdef0123456789abcdef")];
    assert_eq!(get_with(port, "/api/v1/containers", &right).status, 200);
    assert_eq!(get(port, "/").status, 200, "the page asks for it");
    assert!(!agent.said().contains("0123456789abcdef"), "a token is in no log");
}

#[test]
fn a_name_of_somebody_elses_that_points_here_gets_nothing() {
    let (_agent, port) = listening(OsStr::new("web"), &[]);
    for path in ["/", "/api/v1/containers"] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: evil.example:{port}\r\nConnection: close\r\n\r\n");
        let answer = ask(connect(port), request.as_bytes()).unwrap();
        assert!(answer.status == 421 && answer.is_problem(), "{answer:?}");
    }
}

#[test]
fn slow_and_greedy_clients_cost_nobody_else_anything() {
    let (mut agent, port) = listening(OsStr::new("web"), &[]);
    let resident = agent.resident();
    let began = Instant::now();
    // Heads that never end, on every connection that is accepted.
    let mut half: Vec<TcpStream> = (0..400)
        .map(|_| {
            let mut stream = connect(port);
            _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: ");
            stream
        })
        .collect();
    let health = get(port, "/healthz");
    assert_eq!(health.status, 200);
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    // A head that is too long is not kept.
    let long = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(20_000));
    assert!(ask(connect(port), long.as_bytes()).is_none_or(|answer| answer.status == 431));
    let body = b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000000\r\n\r\n";
    assert!(ask(connect(port), body).is_some_and(|answer| answer.status == 413 && answer.is_problem()));
    for stream in &mut half {
        let mut rest = Vec::new();
        stream.set_read_timeout(Some(Duration::from_secs(15))).unwrap();
        stream.read_to_end(&mut rest).expect("a head that does not end holds its place");
    }
    assert!(agent.is_alive());
    assert!(agent.resident() < resident + (16 << 20), "{} after {resident}", agent.resident());
}

#[test]
fn one_address_has_half_of_the_places_and_probes_need_none() {
    let (_agent, port) = listening(OsStr::new("web"), &[]);
    let mut streams: Vec<Events> = (0..144).map(|_| Events::open(port)).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    for path in ["/api/v1/stream", "/metrics"] {
        let more = get(port, path);
        assert!(more.status == 503 && more.is_problem(), "{more:?}");
    }
    for probe in ["/healthz", "/readyz"] {
        assert_eq!(get(port, probe).status, 200, "{probe}");
    }
    assert!(streams.iter_mut().all(|stream| stream.event().is_some_and(|event| event.name == "tick")));
    drop(streams);
    eventually(TIMEOUT, || (Events::open(port).status == 200).then_some(())).expect("a stream's place stays taken");
}

#[test]
fn idle_connections_give_way_to_a_new_one() {
    let (_agent, port) = listening(OsStr::new("web"), &[]);
    let idle: Vec<TcpStream> = (0..400).map(|_| connect(port)).collect();
    assert_eq!(get(port, "/healthz").status, 200);
    assert_eq!(get(port, "/metrics").status, 200);
    drop(idle);
}
