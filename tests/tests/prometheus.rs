//! A real Prometheus scrapes the agent; its own tool checks the text, and the queries of the dashboard and the alerts.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use tests::agent::{Agent, command};
use tests::http::{get, get_with};
use tests::prometheus::Prometheus;
use tests::{eventually, free_port, has, skip};

const TIMEOUT: Duration = Duration::from_secs(40);

/// Names of cAdvisor's, which cannot change although `promtool check metrics` objects.
const FOREIGN: &[&str] = &["container_fs_inodes_total"];
/// Objections of every version of the tool. A newer version may have more, which say nothing new about the text.
const OBJECTIONS: &[&str] = &[
    "no help text",
    "should have \"_total\" suffix",
    "should not have \"_total\" suffix",
    "should not have \"_count\" suffix",
    "should not have \"_sum\" suffix",
    "should not have \"_bucket\" suffix",
    "should not contain ':'",
];

/// A server that scrapes one target every second.
fn scraping(target: u16) -> Prometheus {
    let configuration = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs: [{{job_name: monitor, static_configs: [{{targets: ['127.0.0.1:{target}']}}]}}]\n"
    );
    Prometheus::start(&configuration)
}

fn agent() -> (Agent, u16) {
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let arguments = ["--listen", &listen, "--valkey-url", "none", "--interval", "500ms", "--scope", "self"];
    let agent = Agent::spawn(command(&arguments, &[("CONTAINER_NAME", "web \"1\" \\")]));
    let ready =
        || std::net::TcpStream::connect(("127.0.0.1", port)).ok().filter(|_| get(port, "/readyz").status == 200);
    eventually(TIMEOUT, ready).expect("the server is not ready");
    (agent, port)
}

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/grafana").join(name)
}

fn promtool(arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn its_own_tool_has_no_objection_to_the_text() {
    if !has("promtool") {
        skip!("promtool is not installed");
    }
    let (_agent, port) = agent();
    let output = promtool(&["check", "metrics"], &get_with(port, "/metrics", &[("Accept", "text/plain")]).text());
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    // The exit code for objections to the style. Text that cannot be parsed has another one.
    assert!(matches!(output.status.code(), Some(0 | 3)), "{:?}: {said}", output.status);
    let is_known = |line: &&str| OBJECTIONS.iter().any(|objection| line.contains(objection));
    let is_ours = |line: &&str| !FOREIGN.iter().any(|name| line.starts_with(name));
    let objections: Vec<&str> = said.lines().filter(is_known).filter(is_ours).collect();
    assert!(objections.is_empty(), "{objections:?}");
}

#[test]
fn it_scrapes_the_agent_and_every_query_of_the_dashboard_has_an_answer() {
    if !has("prometheus") {
        skip!("prometheus is not installed");
    }
    let (_agent, port) = agent();
    let prometheus = scraping(port);
    let rate = "rate(container_cpu_usage_seconds_total{cpu=\"total\"}[10s])";
    let cores = eventually(TIMEOUT, || prometheus.query(rate).into_iter().next()).expect("no rate of CPU time");
    assert_eq!(cores["metric"]["name"], "web \"1\" \\", "a name comes through as it is");
    let told: f64 = cores["value"][1].as_str().unwrap().parse().unwrap();
    assert!(told > 0.0 && told < 1000.0, "{told}");
    let target = &prometheus.ask("targets", &[])["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&Value::from("up"), &Value::from("")));
    // The same number as in the API, a moment apart.
    let bytes: f64 = prometheus.query("machine_memory_bytes")[0]["value"][1].as_str().unwrap().parse().unwrap();
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap();
    let kib: f64 = meminfo.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(bytes, kib * 1024.0);

    let dashboard: Value = serde_json::from_slice(&std::fs::read(deployed("dashboard.json")).unwrap()).unwrap();
    let text = get(port, "/metrics").text();
    let told: BTreeSet<&str> =
        text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split(['{', ' ']).next()).collect();
    let known: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let mut queries = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().unwrap() {
            let written = target["expr"].as_str().unwrap();
            let words = written.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
            let named: Vec<&str> =
                words.filter(|word| word.starts_with("container_") || word.starts_with("system_monitor_")).collect();
            assert!(!named.is_empty() && named.iter().all(|name| known.contains(name)), "{written}");
            let expression =
                written.replace("$__rate_interval", "10s").replace("$instance", ".*").replace("$name", ".*");
            assert!(!expression.contains('$'), "{expression}");
            let answered = || (!prometheus.query(&expression).is_empty()).then_some(());
            // A number that this machine lacks has no samples, and so no answer.
            if named.iter().all(|name| told.contains(name)) {
                eventually(TIMEOUT, answered).unwrap_or_else(|| panic!("no answer to {expression}"));
            } else {
                assert!(answered().is_none() || expression.contains("vector(0)"), "{expression}");
            }
            queries += 1;
        }
    }
    assert!(queries >= 20, "{queries}");
    for variable in
        dashboard["templating"]["list"].as_array().unwrap().iter().filter(|variable| variable["type"] == "query")
    {
        let query = variable["definition"].as_str().unwrap();
        let (series, label) =
            query.strip_prefix("label_values(").unwrap().strip_suffix(')').unwrap().rsplit_once(", ").unwrap();
        let found = prometheus.ask("series", &[("match[]", &series.replace("$instance", ".*"))]);
        assert!(found.as_array().unwrap().iter().any(|found| found[label].is_string()), "{query}");
    }
}

#[test]
fn the_alerts_fire_when_they_should_and_name_what_there_is() {
    if !has("promtool") {
        skip!("promtool is not installed");
    }
    let rules = deployed("alerts.test.yml");
    let output = promtool(&["test", "rules", rules.to_str().unwrap()], "");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    let (_agent, port) = agent();
    let text = get(port, "/metrics").text();
    let known: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let alerts = std::fs::read_to_string(deployed("alerts.yml")).unwrap();
    for expression in alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: ")) {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("container_") || word.starts_with("system_monitor_")) {
            assert!(known.contains(name), "{name} of {expression}");
        }
    }
}
