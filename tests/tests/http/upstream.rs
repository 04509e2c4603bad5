//! The server when Valkey is away, and a dashboard that reads a fleet from it.

use std::time::Duration;

use tests::agent::{Agent, command};
use tests::http::{Events, get};
use tests::valkey::Valkey;
use tests::{eventually, free_port, skip};

use crate::server::{TIMEOUT, await_ready, encoded, humantime};

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
    let away = eventually(TIMEOUT, away).expect("nobody notices");
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
    eventually(TIMEOUT, || (valkey.query::<u64>(&["XLEN", "system:history:<b>web"]) >= 10).then_some(())).unwrap();
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

    // One dies without a goodbye: it stays with the status `unknown`, and has no samples in Prometheus.
    let died = agents.remove(0);
    died.signal(libc::SIGKILL);
    let row = |events: &mut Events| events.event().unwrap().data["rows"]["db"][0].clone();
    let mut events = Events::open(port);
    eventually(TIMEOUT, || (row(&mut events) == "unknown").then_some(())).expect("a silent container is not seen");
    assert!(!get(port, "/metrics").text().contains("name=\"db\""));

    valkey.kill();
    let away = eventually(TIMEOUT, || Some(get(port, "/readyz")).filter(|answer| answer.status == 503));
    assert!(away.expect("nobody notices").text().contains("Valkey"));
    assert_eq!((get(port, "/healthz").status, get(port, "/").status), (200, 200));
    let ended = dashboard.end(libc::SIGTERM);
    assert!(ended.status.success() && ended.took < Duration::from_secs(1), "{ended:?}");
}
