//! The text of `/metrics` out of a report.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use super::families::NAMES;
use super::*;
use crate::metrics::NO_LIMIT;
use crate::readings::{Interface, InterfaceCounters};
use crate::report::Report;
use crate::snapshot::{CgroupId, Identity, Snapshot, Stamp};

fn text(name: &str, format: TextFormat) -> String {
    let mut now =
        Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH + Duration::from_secs(1000) });
    now.host.values.put(Metric::MachineCpus, 0, 4);
    let labels = [
        ("io.kubernetes.pod.name", "p"),
        ("io.kubernetes.pod.namespace", "n"),
        ("io.kubernetes.container.name", "c"),
        ("tier", "x"),
    ];
    let cgroup = now.cgroups.entry(CgroupId(1)).or_default();
    cgroup.identity = Identity {
        name: name.to_owned(),
        path: "/docker/1".to_owned(),
        image: Some("nginx:1".to_owned()),
        labels: labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        ..Identity::default()
    }
    .into();
    for (metric, value) in [(Metric::CpuUsage, 1_500_000_000), (Metric::CpuLimit, 250_000), (Metric::CpuPressure, 5000)]
    {
        cgroup.values.put(metric, 0, value);
    }
    let counters = |first| InterfaceCounters { bytes: first, packets: 7, errors: 8, dropped: 9 };
    cgroup.interfaces = [Interface { name: "eth0".to_owned(), received: counters(5), sent: counters(6) }].into();
    cgroup.values.put(Metric::MemoryLimit, 0, NO_LIMIT);
    cgroup.values.put(Metric::MemoryMajorFaults, 0, 3);
    for (metric, value) in
        [(Metric::MemoryActiveFile, 8192), (Metric::MemoryHighHits, 2), (Metric::FilesystemUsed, 9_050)]
    {
        cgroup.values.put(metric, 0, value);
    }
    cgroup.values.put(Metric::NetworkRxBytes, 0, 4);
    cgroup.started = Some(SystemTime::UNIX_EPOCH + Duration::from_secs(100));
    let frame = Arc::new(Frame::reported(&Arc::new(Report::new(None, &now, Duration::from_millis(2)))));
    String::from_utf8(encode(frame, AgentState::default(), EndedKills::default(), format).to_vec()).unwrap()
}

#[test]
fn numbers_have_cadvisors_names_labels_and_units() {
    let text = text("web", TextFormat::Prometheus);
    let labels = r#"id="/docker/1",name="web",image="nginx:1",container="c",pod="p",namespace="n""#;
    for line in [
        format!("container_cpu_usage_seconds_total{{{labels},cpu=\"total\"}} 1.5"),
        format!("container_spec_cpu_quota{{{labels}}} 25000.0"),
        format!("container_spec_cpu_period{{{labels}}} 100000.0"),
        format!("container_start_time_seconds{{{labels}}} 100.0"),
        format!("system_monitor_cpu_pressure_some_avg10_ratio{{{labels}}} 0.5"),
        format!("system_monitor_container_status{{{labels},status=\"running\"}} 1"),
        format!("container_network_receive_bytes_total{{{labels},interface=\"eth0\"}} 5.0"),
        format!("container_network_transmit_packets_dropped_total{{{labels},interface=\"eth0\"}} 9.0"),
        format!("system_monitor_network_rx_bytes_total{{{labels}}} 4.0"),
        format!("container_spec_memory_limit_bytes{{{labels}}} 0.0"),
        format!("container_memory_failures_total{{{labels},failure_type=\"pgmajfault\",scope=\"hierarchy\"}} 3.0"),
        format!("container_memory_total_active_file_bytes{{{labels}}} 8192.0"),
        format!("system_monitor_memory_high_hits_total{{{labels}}} 2.0"),
        format!("system_monitor_disk_filesystem_used_ratio{{{labels}}} 0.905"),
        "machine_cpu_cores 4.0".to_owned(),
        "system_monitor_reading_seconds 0.002".to_owned(),
        "# TYPE container_cpu_usage_seconds_total counter".to_owned(),
    ] {
        assert!(text.lines().any(|known| known == line), "{line}\n{text}");
    }
    assert!(!text.contains("container_memory_usage_bytes{"), "what is absent has no sample");
    assert!(!text.contains("tier") && !text.contains("per_second"));
}

#[test]
fn both_forms_tell_the_same_and_only_one_has_an_end() {
    let samples = |format| {
        text("web", format).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(samples(TextFormat::Prometheus), samples(TextFormat::OpenMetrics));
    assert!(text("web", TextFormat::OpenMetrics).ends_with("\n# EOF\n"));
    assert!(text("web", TextFormat::OpenMetrics).contains("# TYPE container_cpu_usage_seconds counter\n"));
    assert!(!text("web", TextFormat::Prometheus).contains("EOF"));
}

#[test]
fn a_hostile_name_stays_within_its_quotes() {
    let hostile = "a\"} 1\nevil_total{x=\"\\\n\r\u{1b}[2J<script>";
    for format in [TextFormat::Prometheus, TextFormat::OpenMetrics] {
        let text = text(hostile, format);
        assert!(text.contains(r#"name="a\"} 1\nevil_total{x=\"\\\n"#), "{text}");
        assert!(text.lines().all(|line| !line.starts_with("evil")), "{text}");
        let names: BTreeSet<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.split(['{', ' ']).next())
            .collect();
        assert!(
            names.iter().all(|name| ["container_", "machine_", PREFIX].iter().any(|prefix| name.starts_with(prefix))),
            "{names:?}"
        );
    }
}

#[test]
fn no_two_families_share_a_name_and_every_name_is_of_a_row_that_is_there() {
    let mut names: Vec<String> =
        families().into_iter().map(|family| family.name).chain(machine().map(|(name, _)| name)).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(NAMES.iter().all(|(name, _)| names.iter().any(|known| known == name)));
}
