//! The server as a stranger sees it: what it answers, what it refuses, and that its description is true.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use tests::agent::{Agent, command};
use tests::http::{Events, ask, connect, get, get_with};
use tests::valkey::Valkey;
use tests::{eventually, free_port, schema, skip};

const PATIENCE: Duration = Duration::from_secs(20);
const ROUTES: &str = include_str!("../../monitor/src/http/routes.rs");

/// An agent of a container of this name that listens, writes nowhere, and has read something.
fn listening(name: &OsStr, arguments: &[&str]) -> (Agent, u16) {
    let port = free_port();
    let mut agent = command(&["--listen", &format!("127.0.0.1:{port}"), "--valkey-url", "none", "--ebpf", "off"], &[]);
    agent.args(["--interval", "200ms", "--disk-interval", "0s", "--scope", "self"]).args(arguments);
    let agent = Agent::spawn({
        agent.env("CONTAINER_NAME", name);
        agent
    });
    await_ready(port);
    (agent, port)
}

fn await_ready(port: u16) {
    let ready = || TcpStream::connect(("127.0.0.1", port)).ok().filter(|_| get(port, "/readyz").status == 200);
    eventually(PATIENCE, ready).expect("the server is not ready");
}

#[test]
fn nothing_listens_unless_it_is_asked_to() {
    let agent = Agent::spawn(command(&["--valkey-url", "none", "--ebpf", "off", "--disk-interval", "0s"], &[]));
    assert!(agent.says("Starting system monitor", PATIENCE));
    std::thread::sleep(Duration::from_millis(500));
    let sockets: BTreeSet<String> = std::fs::read_dir(format!("/proc/{}/fd", agent.pid()))
        .unwrap()
        .filter_map(|fd| Some(std::fs::read_link(fd.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .filter_map(|link| Some(link.strip_prefix("socket:[")?.trim_end_matches(']').to_owned()))
        .collect();
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let table = std::fs::read_to_string(format!("/proc/{}/net/{table}", agent.pid())).unwrap_or_default();
        let inodes = table.lines().skip(1).filter_map(|line| line.split_whitespace().nth(9));
        assert!(inodes.into_iter().all(|inode| !sockets.contains(inode)), "{table}");
    }
}

#[test]
fn an_address_that_strangers_reach_or_a_token_that_all_can_read_ends_the_start_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o644)).unwrap();
    let token = token.to_str().unwrap();
    for (arguments, cure) in [
        (&["--listen", "0.0.0.0:0"][..], "--listen-token-file"),
        (&["--listen", "[::]:0"], "--listen-open"),
        (&["--listen", "127.0.0.1"], "write ADDR:PORT"),
        (&["--listen", "0.0.0.0:0", "--listen-token-file", token], "chmod o="),
        (&["--listen", "127.0.0.1:0", "--listen-token-file", "/nowhere"], "cannot be read"),
        (&["dashboard", "--listen", "0.0.0.0:0"], "--listen-token-file"),
    ] {
        let output = command(arguments, &[]).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {said}");
        assert!(said.contains(cure), "{said}");
    }
}

#[test]
fn every_route_is_described_and_every_description_is_true() {
    let (_agent, port) = listening(OsStr::new("web"), &[]);
    let document = get(port, "/api/v1/openapi.json").json();
    let paths = document["paths"].as_object().unwrap();
    let described: BTreeSet<&str> = paths.keys().map(String::as_str).collect();
    let routes: BTreeSet<String> =
        ROUTES.split(".route(\"").skip(1).map(|rest| rest.split('"').next().unwrap().replace("{*", "{")).collect();
    assert_eq!(described, routes.iter().map(String::as_str).collect());

    std::thread::sleep(Duration::from_millis(500));
    for (path, description) in paths {
        let asked = path.replace("{name}", "web").replace("{path}", "app.js");
        let responses = &description["get"]["responses"];
        let content = &responses["200"]["content"];
        if path == "/api/v1/stream" {
            let tick = Events::open(port).event().unwrap();
            let tick_schema = serde_json::json!({ "$ref": "#/components/schemas/Tick" });
            schema::check(&tick.data, &tick_schema, &document, path).unwrap();
            continue;
        }
        let answer = get(port, &asked);
        assert_eq!(answer.status, 200, "{asked}: {}", answer.text());
        let kind = answer.header("content-type").split(';').next().unwrap().to_owned();
        if let Some(content) = content.as_object() {
            assert!(content.contains_key(&kind), "{path} is {kind}");
            if kind == "application/json" {
                schema::check(&answer.json(), &content[&kind]["schema"], &document, path).unwrap();
            }
        }
        for (status, wrong) in [
            ("404", path.replace("{name}", "nobody").replace("{path}", "nothing")),
            ("400", format!("{asked}?what=that")),
        ] {
            if responses.get(status).is_some()
                && wrong != *path
                && !(status == "400" && description["get"]["parameters"].as_array().unwrap().len() < 2)
            {
                let answer = get(port, &wrong);
                assert_eq!(answer.status.to_string(), status, "{wrong}");
                let problem = serde_json::json!({ "$ref": "#/components/schemas/Problem" });
                schema::check(&answer.json(), &problem, &document, &wrong).unwrap();
            }
        }
    }
}

#[test]
fn a_past_has_the_numbers_that_were_asked_for_in_the_columns_of_a_chart() {
    let (_agent, port) = listening(OsStr::new("web"), &[]);
    let path = "/api/v1/history/web?metric=cpu_percent,memory_usage_bytes&metric=uptime_seconds&since=1h";
    let history = eventually(PATIENCE, || {
        let history = get(port, path).json();
        (history["times"].as_array().unwrap().len() >= 5).then_some(history)
    })
    .unwrap();
    let times: Vec<u64> = history["times"].as_array().unwrap().iter().map(|time| time.as_u64().unwrap()).collect();
    assert!(times.is_sorted());
    let series = history["series"].as_object().unwrap();
    assert_eq!(series.keys().collect::<Vec<_>>(), ["cpu_percent", "memory_usage_bytes", "uptime_seconds"]);
    assert!(series.values().all(|column| column.as_array().unwrap().len() == times.len()));
    let report = get(port, "/api/v1/containers/web").json();
    let (then, now) = (series["uptime_seconds"][0].as_u64().unwrap(), report["uptime_seconds"].as_u64().unwrap());
    assert!(then <= now && now - then < 60, "{then} and {now}");
    let since = humantime(times[times.len() - 2]);
    let late = get(port, &format!("/api/v1/history/web?since={since}")).json();
    assert!(late["times"].as_array().unwrap()[0].as_u64().unwrap() >= times[times.len() - 2]);
    assert_eq!(late["series"].as_object().unwrap().len(), 16, "without a choice, the numbers of the contract");
}

/// RFC 3339 of milliseconds since 1970, for these days.
fn humantime(millis: u64) -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "-d", &format!("@{}.{:03}", millis / 1000, millis % 1000), "+%Y-%m-%dT%H:%M:%S.%3NZ"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn each_reading_is_an_event_and_the_latest_comes_at_once() {
    let (agent, port) = listening(OsStr::new("web"), &[]);
    let mut events = Events::open(port);
    let (first, second) = (events.event().unwrap(), events.event().unwrap());
    assert_eq!((first.name.as_str(), second.name.as_str()), ("tick", "tick"));
    assert!(first.id < second.id && first.id == first.data["taken"].as_u64());
    let fields: Vec<&str> =
        second.data["fields"].as_array().unwrap().iter().map(|field| field.as_str().unwrap()).collect();
    let row = second.data["rows"]["web"].as_array().unwrap();
    assert_eq!(row.len(), fields.len());
    assert_eq!(row[fields.iter().position(|field| *field == "status").unwrap()], "running");
    agent.end(libc::SIGTERM);
    let last = std::iter::from_fn(|| events.event()).last();
    assert!(last.is_none_or(|last| last.data["rows"]["web"][0] == "exited"), "the end is told, or the stream is cut");
}

/// Names that want to be more than names.
fn hostile() -> Vec<Vec<u8>> {
    vec![
        b"<script>alert(1)</script>".to_vec(),
        b"\x1b[2J\x1b]0;owned\x07".to_vec(),
        b"a\nevent: tick\ndata: {}\n\nb\r\n\r\n".to_vec(),
        b"a\"} 1\nevil_total{x=\"\\".to_vec(),
        b"../../../etc/passwd?x=%2e#/".to_vec(),
        vec![b'x'; 255],
        b"\xff\xfe half".to_vec(),
        "ü\u{202e}\u{2028}\u{0}".replace('\0', "").into_bytes(),
    ]
}

fn encoded(name: &str) -> String {
    name.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

#[test]
fn hostile_names_are_only_names_in_the_api_the_stream_and_the_metrics() {
    std::thread::scope(|scope| {
        for name in hostile() {
            scope.spawn(move || {
                let expected = String::from_utf8_lossy(&name).into_owned();
                let (_agent, port) = listening(OsStr::from_bytes(&name), &[]);
                let all = get(port, "/api/v1/containers").json();
                assert_eq!(all["containers"][0]["container_name"], expected.as_str());
                let one = get(port, &format!("/api/v1/containers/{}", encoded(&expected)));
                assert_eq!((one.status, &one.json()["container_name"]), (200, &Value::from(expected.as_str())));
                let history = get(port, &format!("/api/v1/history/{}", encoded(&expected)));
                assert_eq!(history.json()["name"], expected.as_str());
                let mut events = Events::open(port);
                for _ in 0..2 {
                    let event = events.event().unwrap();
                    assert_eq!(event.name, "tick");
                    assert_eq!(event.data["rows"].as_object().unwrap().keys().collect::<Vec<_>>(), [&expected]);
                }
                for accept in ["text/plain", "application/openmetrics-text"] {
                    let text = get_with(port, "/metrics", &[("Accept", accept)]).text();
                    let samples = text.lines().filter(|line| !line.starts_with('#'));
                    for line in samples {
                        assert!(
                            ["container_", "machine_", "system_monitor_"].iter().any(|known| line.starts_with(known)),
                            "{line}"
                        );
                    }
                    let label = format!(
                        "name=\"{}\"",
                        expected.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
                    );
                    assert!(text.contains(&label), "{label}");
                }
                let unknown = get(port, &format!("/api/v1/logs/{}x", encoded(&expected)));
                assert!(unknown.status == 404 && unknown.is_problem(), "{unknown:?}");
                let page = get(port, "/");
                assert!(!page.text().contains(&expected), "no name stands in the page's own text");
                for answer in [unknown, page] {
                    assert_eq!(answer.header("x-content-type-options"), "nosniff");
                    assert!(answer.header("content-security-policy").contains("default-src 'self'"));
                }
            });
        }
    });
}

#[test]
fn whatever_is_asked_there_is_no_server_error_and_a_problem_is_told_as_one() {
    let (mut agent, port) = listening(OsStr::new("web"), &[]);
    let document = get(port, "/api/v1/openapi.json").json();
    let mut paths: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    paths.retain(|path| path != "/api/v1/stream");
    let piece = || {
        prop_oneof![
            "[a-z0-9.]{0,8}".boxed(),
            Just("web".to_owned()).boxed(),
            "(%[0-9a-fA-F]{2}){1,6}".boxed(),
            "%[0-9a-zA-Z]?".boxed(),
            "[!-~&&[^ #?]]{0,40}".boxed(),
            Just("..".to_owned()).boxed(),
        ]
    };
    let parameter = prop_oneof![
        Just("metric=cpu_percent".to_owned()),
        Just("since=1h".to_owned()),
        "(metric|since|limit|x)=[!-~&&[^#]]{0,30}",
        "since=[0-9]{1,25}(ms|s|h|d|y|years)?",
        "since=[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z",
        "limit=-?[0-9]{1,25}",
        "metric=[a-z_.,]{0,300}",
    ];
    let header = prop_oneof![
        Just(String::new()),
        "Accept: [!-~]{0,40}\r\n",
        "If-None-Match: [!-~]{0,40}\r\n",
        "Authorization: [!-~]{0,40}\r\n",
        "Range: bytes=[0-9]{0,9}-\r\n",
        "X-[A-Za-z]{1,9}: [!-~]{0,200}\r\n",
    ];
    let path = prop_oneof![
        (proptest::sample::select(paths), piece())
            .prop_map(|(path, piece)| path.replace("{name}", &piece).replace("{path}", &piece)),
        proptest::collection::vec(piece(), 0..5).prop_map(|pieces| format!("/{}", pieces.join("/"))),
    ];
    let request = (
        prop_oneof![8 => Just("GET"), 2 => Just("HEAD"), 1 => Just("POST"), 1 => Just("DELETE")],
        path,
        proptest::collection::vec(parameter, 0..4),
        header,
    );
    let mut runner = TestRunner::new(Config { cases: 1500, failure_persistence: None, ..Config::default() });
    runner
        .run(&request, |(method, path, parameters, header)| {
            let query = if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
            let text =
                format!("{method} {path}{query} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{header}\r\n");
            let answer = ask(connect(port), text.as_bytes());
            let Some(answer) = answer else { return Err(TestCaseError::fail(format!("no answer to {text}"))) };
            prop_assert!(answer.status < 500, "{} to {text}", answer.status);
            // What is no HTTP gets a bare 400 from the parser.
            let is_bare = answer.status == 400 && answer.body.is_empty();
            if answer.status >= 400 && method != "HEAD" && !is_bare {
                prop_assert!(answer.is_problem(), "{answer:?} to {text}");
            }
            Ok(())
        })
        .unwrap();
    assert!(agent.is_alive() && get(port, "/healthz").status == 200);
}

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
fn the_files_of_the_page_are_fetched_once() {
    let (_agent, port) = listening(OsStr::new("web"), &[]);
    let first = get(port, "/assets/app.js");
    assert_eq!((first.status, first.header("cache-control")), (200, "no-cache"));
    let tag = first.header("etag").to_owned();
    let again = get_with(port, "/assets/app.js", &[("If-None-Match", &format!("\"x\", W/{tag}"))]);
    assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, tag.as_str()));
}

#[test]
fn slow_and_greedy_clients_cost_nobody_else_anything() {
    let (mut agent, port) = listening(OsStr::new("web"), &[]);
    let resident = agent.resident();
    let began = Instant::now();
    // Heads that never end, on every place that there is.
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
    // Nothing of a head that is too long is kept.
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
fn there_are_only_so_many_event_streams_and_places_for_the_rest() {
    let (_agent, port) = listening(OsStr::new("web"), &[]);
    let mut streams: Vec<Events> = (0..256).map(|_| Events::open(port)).collect();
    assert!(streams.iter().all(|stream| stream.status == 200));
    let more = get(port, "/api/v1/stream");
    assert!(more.status == 503 && more.is_problem(), "{more:?}");
    assert_eq!(get(port, "/metrics").status, 200);
    assert!(streams.iter_mut().all(|stream| stream.event().is_some_and(|event| event.name == "tick")));
    drop(streams);
    eventually(PATIENCE, || (Events::open(port).status == 200).then_some(())).expect("a stream's place stays taken");
}

#[test]
fn a_unix_socket_is_taken_over_from_the_dead_and_goes_with_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("monitor.sock");
    // The name of one that has died.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let listen = format!("unix:{}", path.display());
    let arguments =
        ["--listen", &listen, "--valkey-url", "none", "--ebpf", "off", "--disk-interval", "0s", "--scope", "self"];
    let agent = Agent::spawn(command(&arguments, &[("CONTAINER_NAME", "web"), ("MONITOR_INTERVAL", "200ms")]));
    let ask = || {
        ask(UnixStream::connect(&path).ok()?, b"GET /readyz HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
    };
    eventually(PATIENCE, || ask().filter(|answer| answer.status == 200)).expect("nobody answers");
    let ended = agent.end(libc::SIGTERM);
    assert!(ended.status.success() && ended.took < Duration::from_secs(1), "{ended:?}");
    assert!(!path.exists());
}

#[test]
fn a_port_that_is_taken_is_said_and_had_as_soon_as_it_is_free() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let arguments =
        ["--listen", &format!("127.0.0.1:{port}"), "--valkey-url", "none", "--ebpf", "off", "--disk-interval", "0s"];
    let agent = Agent::spawn(command(&arguments, &[("CONTAINER_NAME", "web")]));
    assert!(agent.says("Cannot listen at", PATIENCE), "{}", agent.said());
    drop(holder);
    await_ready(port);
}

#[test]
fn readiness_says_that_valkey_is_away_and_the_loop_lives_on() {
    let Some(mut valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["--interval", "200ms", "--listen", &listen, "--ebpf", "off", "--disk-interval", "0s"];
    let _agent = Agent::start(valkey.port, &arguments, &[("CONTAINER_NAME", "web")]);
    await_ready(port);
    valkey.kill();
    let away = || Some(get(port, "/readyz")).filter(|answer| answer.status == 503);
    let away = eventually(PATIENCE, away).expect("nobody notices");
    assert!(away.is_problem() && away.text().contains("Valkey is away"), "{}", away.text());
    assert_eq!(get(port, "/healthz").status, 200);
    valkey.restart();
    await_ready(port);
}

#[test]
fn a_fleet_is_shown_out_of_valkey_with_a_past_from_before_the_dashboard() {
    let Some(mut valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let arguments =
        ["--interval", "200ms", "--history", "1h", "--metrics-ttl", "2s", "--ebpf", "off", "--disk-interval", "0s"];
    let mut agents: Vec<Agent> = ["db", "<b>web"]
        .iter()
        .map(|name| Agent::start(valkey.port, &arguments, &[("CONTAINER_NAME", name)]))
        .collect();
    eventually(PATIENCE, || (valkey.query::<u64>(&["XLEN", "system:history:<b>web"]) >= 10).then_some(())).unwrap();
    let port = free_port();
    let url = format!("valkey://127.0.0.1:{}", valkey.port);
    let listen = format!("127.0.0.1:{port}");
    let dashboard =
        Agent::spawn(command(&["dashboard", "--listen", &listen, "--interval", "300ms"], &[("VALKEY_URL", &url)]));
    await_ready(port);

    let all = get(port, "/api/v1/containers").json();
    let names: Vec<&str> =
        all["containers"].as_array().unwrap().iter().map(|report| report["container_name"].as_str().unwrap()).collect();
    assert_eq!(names, ["<b>web", "db"]);
    assert!(all["host"].is_null() && all["containers"][0]["host"].is_string());
    let began = get(port, "/api/v1/agent").json()["started"].as_str().unwrap().to_owned();
    let history = get(port, &format!("/api/v1/history/{}?metric=process_count", encoded("<b>web"))).json();
    let first = history["times"][0].as_u64().unwrap();
    assert!(humantime(first) < began, "the past begins before the dashboard");
    assert!(history["series"]["process_count"].as_array().unwrap().iter().all(|count| count.as_u64().is_some()));
    let logs = get(port, "/api/v1/logs/db").json();
    assert!(
        logs["entries"]
            .as_array()
            .unwrap()
            .iter()
            .any(|entry| entry["message"].as_str().unwrap().contains("sources: "))
    );
    assert!(get(port, "/metrics").text().contains("container_memory_usage_bytes{"));

    // One dies without a word: it stays, as unknown, and Prometheus is told nothing of it.
    let died = agents.remove(0);
    died.signal(libc::SIGKILL);
    let row = |events: &mut Events| events.event().unwrap().data["rows"]["db"][0].clone();
    let mut events = Events::open(port);
    eventually(PATIENCE, || (row(&mut events) == "unknown").then_some(())).expect("a silent container is not seen");
    assert!(!get(port, "/metrics").text().contains("name=\"db\""));

    valkey.kill();
    let away = eventually(PATIENCE, || Some(get(port, "/readyz")).filter(|answer| answer.status == 503));
    assert!(away.expect("nobody notices").text().contains("Valkey"));
    assert_eq!((get(port, "/healthz").status, get(port, "/").status), (200, 200));
    let ended = dashboard.end(libc::SIGTERM);
    assert!(ended.status.success() && ended.took < Duration::from_secs(1), "{ended:?}");
}
