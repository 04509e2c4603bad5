//! Reports and log entries of agents, read back by the library.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::{Duration, SystemTime};

use monitor::metrics::Metric;
use monitor::valkey::store::{Store, StoreError};
use monitor::valkey::{Target, ValkeyOptions};
use tests::agent::Agent;
use tests::valkey::Valkey;
use tests::{eventually, fleet, skip};

const TIMEOUT: Duration = Duration::from_secs(20);

async fn connect(valkey: &Valkey) -> Store {
    let target = Target::parse(&format!("valkey://127.0.0.1:{}", valkey.port)).unwrap();
    Store::connect(&ValkeyOptions { target, ..ValkeyOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn containers_reports_and_history_are_read_back() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let arguments = ["--interval", "100ms", "--history", "1h", "--disk-interval", "0s"];
    let began = SystemTime::now();
    let agents = ["web", "a*b"].map(|name| Agent::start(valkey.port, &arguments, &[("CONTAINER_NAME", name)]));
    eventually(TIMEOUT, || (valkey.query::<u64>(&["XLEN", "system:history:a*b"]) >= 5).then_some(())).unwrap();
    let mut store = connect(&valkey).await;
    let containers = store.containers(began).await.unwrap();
    assert_eq!(containers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a*b", "web"]);
    assert!(containers.iter().all(|(_, at)| *at >= began - Duration::from_millis(1)));
    assert!(store.containers(SystemTime::now() + Duration::from_secs(60)).await.unwrap().is_empty());
    let latest = store.latest("web").await.unwrap().unwrap();
    assert_eq!((latest.name.as_str(), latest.status.as_str()), ("web", "running"));
    assert!(latest.number(Metric::CpuPercent).is_some() && latest.number(Metric::Load1).is_some());
    assert!(latest.cause(Metric::DescriptorsOpened).is_some());
    assert_eq!(store.latest("nobody").await.unwrap(), None);
    drop(agents);
    let history = store.history("a*b", began).await.unwrap();
    assert!(history.reports.len() >= 5 && history.next.is_none());
    assert!(history.reports.is_sorted_by_key(|report| report.taken));
    let middle = history.reports[2].taken;
    let later = store.history("a*b", middle).await.unwrap().reports;
    assert_eq!(later, history.reports[2..], "an entry's id is its time");
}

#[tokio::test]
async fn causes_of_both_schemas_are_read_side_by_side_and_damage_costs_its_own_cause() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    fleet::write_forms(&valkey);
    let mut store = connect(&valkey).await;
    let history = store.history("forms", SystemTime::UNIX_EPOCH).await.unwrap().reports;
    assert_eq!(history.len(), fleet::FORMS.len());
    for (at, ((form, cause), past)) in fleet::FORMS.iter().zip(history).enumerate() {
        let latest = store.latest(&fleet::form_name(at)).await.unwrap().unwrap();
        for report in [latest, past] {
            assert_eq!(report.cause(Metric::DiskUsage), *cause, "{form}");
            assert_eq!((report.number(Metric::CpuPercent), report.number(Metric::DiskUsage)), (Some(1.5), None));
        }
    }
}

#[tokio::test]
async fn a_long_history_comes_in_pages_and_what_is_no_report_is_named() {
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let mut pipe = redis::pipe();
    for second in 0..1_200u64 {
        let timestamp = monitor::wire::timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(second));
        let report = format!(r#"{{"container_name":"web","timestamp":"{timestamp}","status":"running"}}"#);
        pipe.cmd("XADD")
            .arg("system:history:web")
            .arg(format!("{}-1", second * 1000))
            .arg("report")
            .arg(report)
            .ignore();
    }
    pipe.exec(&mut valkey.connection()).unwrap();
    let mut store = connect(&valkey).await;
    let mut page = store.history("web", SystemTime::UNIX_EPOCH).await.unwrap();
    let mut taken: Vec<SystemTime> = page.reports.iter().map(|report| report.taken).collect();
    let mut pages = 1;
    while let Some(next) = page.next {
        page = store.page("web", &next).await.unwrap();
        taken.extend(page.reports.iter().map(|report| report.taken));
        pages += 1;
    }
    let all = (0..1_200).map(|second| SystemTime::UNIX_EPOCH + Duration::from_secs(second));
    assert_eq!((pages, taken), (3, all.collect()));
    let _: () = valkey.query(&["SET", "system:metrics:odd", "7"]);
    assert!(matches!(store.latest("odd").await, Err(StoreError::Nonsense(key)) if key == "system:metrics:odd"));
    let _: () = valkey.query(&["RPUSH", "system:metrics:list", "7"]);
    assert!(
        matches!(store.latest("list").await, Err(StoreError::Valkey(fault)) if fault.to_string().contains("WRONGTYPE"))
    );
}
