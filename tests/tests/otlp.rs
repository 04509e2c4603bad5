//! Metrics sent to an OpenTelemetry collector.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::sync::atomic::Ordering;
use std::time::Duration;

use tests::agent::{Agent, command};
use tests::collector::{Collector, Point, ResourceMetrics};
use tests::http::get;
use tests::prometheus::Prometheus;
use tests::{eventually, free_port, skip};

const TIMEOUT: Duration = Duration::from_secs(20);

fn agent(collector: u16, more: &[&str]) -> Agent {
    agent_of(&format!("http://127.0.0.1:{collector}"), more)
}

fn agent_of(url: &str, more: &[&str]) -> Agent {
    let mut agent = command(&["--otlp", url, "--valkey-url", "none", "--interval", "500ms", "--scope", "self"], &[]);
    agent.args(more).env("CONTAINER_NAME", "web \u{1b}[2J\"\n");
    Agent::spawn(agent)
}

fn next(collector: &Collector) -> ResourceMetrics {
    let mut request = collector.request().unwrap();
    assert_eq!(request.resource_metrics.len(), 1);
    request.resource_metrics.remove(0)
}

fn total(points: &[Point]) -> f64 {
    points.iter().map(Point::number).sum()
}

#[test]
fn a_collector_gets_the_numbers_of_the_report_under_the_conventions_names() {
    let collector = Collector::start(0);
    let port = free_port();
    let _agent = agent(collector.port, &["--listen", &format!("127.0.0.1:{port}")]);
    next(&collector);
    // The request and the report of one reading.
    let (container, report) = eventually(TIMEOUT, || {
        let container = next(&collector);
        let report = get(port, "/api/v1/containers").json()["containers"][0].clone();
        let nanos = container.points("container.memory.usage")[0].time_unix_nano.to_string();
        let fraction = report["timestamp"].as_str()?.split_once('.')?.1.trim_end_matches('Z').to_owned();
        nanos.ends_with(&fraction).then_some((container, report))
    })
    .expect("no request and report of one reading");
    assert_eq!(container.attribute("container.name"), Some("web \u{1b}[2J\"\n"));
    assert_eq!(container.attribute("service.name"), Some("web \u{1b}[2J\"\n"));
    assert_eq!(container.attribute("host.name"), report["host"].as_str());
    assert_eq!(container.scope_metrics[0].scope.name, "system-monitor");
    for (name, field) in [
        ("container.memory.usage", "/memory_usage_bytes"),
        ("container.memory.working_set", "/memory/working_set_bytes"),
        ("container.memory.rss", "/memory/anon_bytes"),
        ("container.uptime", "/uptime_seconds"),
        ("container.filesystem.capacity", "/disk_total_bytes"),
        ("container.filesystem.available", "/disk/available_bytes"),
        ("system_monitor.disk.filesystem_used_percent", "/disk/filesystem_used_percent"),
        ("system_monitor.process_count", "/process_count"),
        ("system_monitor.cpu_percent", "/cpu_percent"),
    ] {
        let points = container.points(name);
        assert_eq!(points.len(), 1, "{name}");
        assert_eq!(Some(points[0].number()), report.pointer(field).unwrap().as_f64(), "{name}");
    }
    for point in container.points("container.network.io") {
        assert!(point.attribute("network.interface.name").is_some_and(|name| name != "lo"), "{point:?}");
        assert!(point.attribute("network.io.direction").is_some(), "{point:?}");
    }
    for field in ["network_rx_bytes", "network_tx_bytes"] {
        let own = container.points(&format!("system_monitor.{field}")).first().map(|point| point.number());
        assert_eq!(own, report[field].as_f64());
    }
    let cpu = container.points("container.cpu.time");
    let modes: Vec<_> = cpu.iter().map(|point| point.attribute("cpu.mode")).collect();
    assert_eq!(modes, [Some("user"), Some("system")]);
    assert!(cpu.iter().all(|point| point.start_time_unix_nano.unwrap() < point.time_unix_nano));
    let later = next(&collector);
    assert!(total(later.points("container.cpu.time")) >= total(cpu));
    assert!(total(cpu) > 0.0);
    let cores = report["cpu"]["usage_cores"].as_f64().unwrap();
    assert!((total(container.points("container.cpu.usage")) - cores).abs() < 0.001);
    assert!(container.schema_url.ends_with("/1.44.0") && container.scope_metrics[0].schema_url == container.schema_url);
    for metric in container.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
        assert!(!metric.unit.is_empty() && !metric.description.is_empty(), "{metric:?}");
        assert!(metric.sum.as_ref().is_none_or(|sum| sum.aggregation_temporality == 2), "{metric:?}");
        let falls =
            [".memory.", ".filesystem."].iter().any(|kind| metric.name.starts_with(&format!("container{kind}")));
        assert_eq!(metric.sum.as_ref().is_some_and(|sum| !sum.is_monotonic), falls, "{}", metric.name);
        assert!(!metric.name.ends_with("per_second"));
    }
    // A number that is absent in the report is not sent.
    for absent in report["absent"].as_object().unwrap().keys() {
        assert!(container.points(&format!("system_monitor.{absent}")).is_empty(), "{absent}");
    }
}

#[test]
fn a_real_receiver_answers_queries_with_the_container_and_its_numbers() {
    let Some(program) = std::env::var_os("SYSTEM_MONITOR_OTLP_RECEIVER") else {
        skip!("there is no receiver of OTLP; cargo xtask test fetches one")
    };
    let receiver = Prometheus::victoria(program.as_ref());
    let port = free_port();
    let url = format!("http://127.0.0.1:{}/opentelemetry/v1/metrics", receiver.port);
    let agent = agent_of(&url, &["--listen", &format!("127.0.0.1:{port}"), "--log", "warn"]);
    let ask = |expression: &str| Some((receiver.query(expression).first()?.clone(), receiver.query(expression).len()));
    let number = |expression: &str| ask(expression)?.0["value"][1].as_str()?.parse::<f64>().ok();

    // By the names that Prometheus derives from the conventions'.
    let (memory, series) = eventually(TIMEOUT, || ask("container_memory_usage_bytes")).expect("no memory");
    assert_eq!(series, 1, "{memory}");
    let report = get(port, "/api/v1/containers").json()["containers"][0].clone();
    for label in ["container_name", "service_name"] {
        assert_eq!(memory["metric"][label], "web \u{1b}[2J\"\n");
    }
    for label in ["host_name", "service_instance_id"] {
        assert_eq!(memory["metric"][label], report["host"]);
    }
    // A constant number is the same in both.
    let capacity = report["disk_total_bytes"].as_f64().unwrap();
    assert_eq!(number("container_filesystem_capacity_bytes"), Some(capacity));
    for direction in ["receive", "transmit"] {
        let io = format!("sum(container_network_io_bytes_total{{network_io_direction=\"{direction}\"}})");
        assert_eq!(ask(&io).unwrap().1, 1);
    }
    // A counter keeps growing, and has the type of a counter.
    let cpu = || number("sum(container_cpu_time_seconds_total)");
    let first = cpu().expect("no CPU time");
    assert!(first > 0.0);
    eventually(TIMEOUT, || cpu().filter(|later| *later > first)).expect("the counter does not rise");
    eventually(TIMEOUT, || number("sum(rate(container_cpu_time_seconds_total[10s]))").filter(|rate| *rate > 0.0))
        .expect("no rate");
    assert!(!agent.said().contains("Error sending metrics"), "{}", agent.said());
}

#[test]
fn a_collector_that_is_away_or_refuses_costs_nothing_but_what_it_misses() {
    let port = free_port();
    let mut agent = agent(port, &["--log", "warn"]);
    assert!(agent.says("Error sending metrics to http://127.0.0.1", TIMEOUT), "{}", agent.said());
    let collector = Collector::start(port);
    next(&collector);
    collector.status.store(503, Ordering::SeqCst);
    assert!(agent.says("answers 503", TIMEOUT), "{}", agent.said());
    collector.status.store(200, Ordering::SeqCst);
    while collector.request().is_err() {}
    assert!(agent.is_alive());
    let ended = agent.end(libc::SIGTERM);
    assert!(ended.status.success() && ended.took < Duration::from_secs(1), "{ended:?}");
}
