//! `doctor` and `healthcheck`.

use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{eventually, skip};

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
