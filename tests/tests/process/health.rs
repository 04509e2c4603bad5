//! `doctor` and `healthcheck`.

use tests::agent::{Agent, command};
use tests::valkey::Valkey;
use tests::{eventually, free_port, skip};

use crate::start::{TIMEOUT, output, text};

#[test]
fn doctor_tells_each_capability_and_its_exit_code_says_whether_all_is_well() {
    let doctor = output(&["doctor", "--json", "--ebpf", "off", "--valkey-url", "valkey://127.0.0.1:1"], &[]);
    let checks: Vec<serde_json::Value> = serde_json::from_slice(&doctor.stdout).unwrap();
    let state = |name: &str| checks.iter().find(|check| check["name"] == name).map(|check| check["state"].clone());
    assert_eq!(state("eBPF ingress"), Some("not_needed".into()));
    assert_eq!(state("valkey"), Some("refused".into()));
    assert_eq!(doctor.status.code(), Some(1));
    assert!(checks.iter().filter(|check| check["name"].as_str().unwrap().starts_with("source ")).count() >= 2);
}

#[test]
fn the_health_check_tells_a_living_agent_from_a_dead_one() {
    let Some(mut valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let port = valkey.port.to_string();
    let check = |interval: &str| {
        let environment = [
            ("CONTAINER_NAME", "web"),
            ("VALKEY_HOST", "127.0.0.1"),
            ("VALKEY_PORT", port.as_str()),
            ("MONITOR_INTERVAL", interval),
        ];
        let output = output(&["healthcheck"], &environment);
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    assert!(matches!(check("1s"), (Some(1), text) if text.contains("no report under system:metrics:web")));
    let agent = Agent::start(valkey.port, &["--interval", "300ms"], &[("CONTAINER_NAME", "web")]);
    valkey.report("web", TIMEOUT).expect("no report");
    assert!(matches!(check("1s"), (Some(0), text) if text.starts_with("healthy: ")));
    agent.signal(libc::SIGSTOP);
    let stale = eventually(TIMEOUT, || Some(check("300ms")).filter(|(code, _)| *code == Some(1)));
    agent.signal(libc::SIGCONT);
    assert!(stale.expect("never stale").1.contains("more than three intervals"));
    agent.end(libc::SIGTERM);
    assert!(matches!(check("1s"), (Some(1), text) if text.contains("has stopped")));
    valkey.kill();
    assert!(matches!(check("1s"), (Some(1), text) if text.contains("refused")));
}

#[test]
fn the_health_check_takes_the_settings_of_the_running_agent() {
    // Agents of other tests differ in this variable.
    let mark = format!("/health-check-{}", std::process::id());
    let environment = [("CONTAINER_NAME", "own"), ("MONITOR_DISK_EXCLUDE", mark.as_str())];
    let check = || {
        let output = output(&["healthcheck"], &environment);
        (output.status.code(), text(&output.stdout) + &text(&output.stderr))
    };
    let start = |flags: &[&str]| {
        let mut agent = command(flags, &environment);
        agent.args(["--scope", "self", "--ebpf", "off"]);
        Agent::spawn(agent)
    };
    let port = free_port();
    let agent = start(&["--valkey-url", "none", "--listen", &format!("127.0.0.1:{port}")]);
    let healthy = eventually(TIMEOUT, || Some(check()).filter(|(code, _)| *code == Some(0))).expect("never healthy");
    assert!(healthy.1.contains(&format!("the agent answers at http://127.0.0.1:{port}/")), "{}", healthy.1);
    agent.end(libc::SIGTERM);
    let agent = start(&["--valkey-url", "none"]);
    let healthy = eventually(TIMEOUT, || Some(check()).filter(|(code, _)| *code == Some(0))).expect("never healthy");
    assert!(healthy.1.contains("no more can be checked"), "{}", healthy.1);
    agent.end(libc::SIGTERM);
    let output = output(&["healthcheck", "--valkey-url", "none"], &environment);
    assert!(text(&output.stderr).contains("no agent runs here"), "{}", text(&output.stderr));
}
