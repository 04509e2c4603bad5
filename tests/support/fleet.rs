//! Reports as the agents of many machines would have written them to Valkey.

use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use monitor::wire;
use serde_json::{Value, json};

use crate::valkey::Valkey;

/// Machines that the containers are on.
const HOSTS: usize = 4;
const LIMIT: u64 = 512 << 20;

/// Reports of containers `c-0000` and on, rewritten periodically as agents do, until dropped. `c-0007` is short of
/// memory; the numbers of all others change a little each time, and one in fifty is throttled.
pub struct Reports {
    stop: mpsc::Sender<()>,
    writer: Option<JoinHandle<()>>,
}

impl Reports {
    /// Starts to write the reports of `count` containers, once per interval.
    pub fn keep(valkey: &Valkey, count: usize, interval: Duration) -> Self {
        let mut connection = valkey.connection();
        write(&mut connection, count, 0);
        let (stop, stopped) = mpsc::channel();
        let writer = std::thread::spawn(move || {
            let mut round = 1;
            while stopped.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                write(&mut connection, count, round);
                round += 1;
            }
        });
        Self { stop, writer: Some(writer) }
    }
}

impl Drop for Reports {
    fn drop(&mut self) {
        _ = self.stop.send(());
        _ = self.writer.take().unwrap().join();
    }
}

/// The report of a container at a time; `round` changes its numbers.
pub fn report(number: usize, at: SystemTime, round: usize) -> Value {
    let wave = ((number + round) % 40) as f64;
    let memory = if number == 7 { 507 << 20 } else { (100 << 20) + ((round as u64 % 16) << 16) };
    let uptime = millis(at) / 1000 - 1_700_000_000;
    json!({
        "container_name": name(number), "timestamp": wire::timestamp(at), "status": "running",
        "host": format!("host-{}", number % HOSTS), "cpu_percent": wave, "memory_usage_bytes": memory,
        "memory_percent": memory as f64 / LIMIT as f64 * 100.0, "network_rx_bytes": 1000 * round,
        "network_tx_bytes": 500 * round, "process_count": 3, "file_descriptors": 40 + number % 7,
        "uptime_seconds": uptime, "load_average_1m": 0.5,
        "cpu": { "usage_cores": wave / 100.0, "limit_cores": 1.0, "throttled_percent": if number % 50 == 3 { 20.0 } else { 0.0 }, "pressure_some_avg10": wave / 10.0 },
        "memory": { "working_set_bytes": memory, "limit_bytes": LIMIT, "oom_kills": 0 },
        "network": { "rx_bytes_per_second": 10.0 * wave, "tx_bytes_per_second": 5.0 * wave },
        "io": { "read_bytes_per_second": 0.0, "write_bytes_per_second": 100.0 * wave },
    })
}

/// The name of the container with a number.
pub fn name(number: usize) -> String {
    format!("c-{number:04}")
}

fn write(connection: &mut redis::Connection, count: usize, round: usize) {
    let now = SystemTime::now();
    let mut pipeline = redis::pipe();
    for number in 0..count {
        let key = format!("system:metrics:{}", name(number));
        pipeline.cmd("SET").arg(key).arg(report(number, now, round).to_string()).ignore();
        pipeline.cmd("ZADD").arg("system:containers").arg(millis(now)).arg(name(number)).ignore();
    }
    pipeline.exec(connection).unwrap();
}

/// The forms in which a report tells why `disk_usage_bytes` is null, with the cause that readers find: that of schema 2,
/// that of schema 3, and damaged ones.
pub const FORMS: [(&str, Option<&str>); 12] = [
    (r#""schema":2,"absent":{"disk_usage_bytes":"the old cause"}"#, Some("the old cause")),
    (
        r#""schema":3,"absent":{"cpu_percent":0,"disk_usage_bytes":1},"causes":["another","the new cause"]"#,
        Some("the new cause"),
    ),
    (r#""schema":3,"absent":{"disk_usage_bytes":1},"causes":["another"]"#, None),
    (r#""schema":3,"absent":{"disk_usage_bytes":-1},"causes":["another"]"#, None),
    (r#""schema":3,"absent":{"disk_usage_bytes":0.5},"causes":["another"]"#, None),
    (r#""schema":3,"absent":{"disk_usage_bytes":1e300},"causes":["another"]"#, None),
    (r#""schema":3,"absent":{"disk_usage_bytes":true},"causes":["another","more"]"#, None),
    (r#""schema":3,"absent":{"disk_usage_bytes":{"0":[0]}},"causes":["another"]"#, None),
    (r#""schema":3,"absent":{"disk_usage_bytes":0},"causes":[{"another":0}]"#, None),
    (r#""schema":3,"absent":{"disk_usage_bytes":0},"causes":"another""#, None),
    (r#""schema":3,"absent":{"disk_usage_bytes":0}"#, None),
    (r#""schema":3,"absent":["another"],"causes":["another"]"#, None),
];

/// The name of the container whose report has one of the [`FORMS`].
pub fn form_name(form: usize) -> String {
    format!("form-{form:02}")
}

/// Writes a latest report in each of the [`FORMS`], and one history with all of them.
pub fn write_forms(valkey: &Valkey) {
    let now = SystemTime::now();
    let mut pipeline = redis::pipe();
    for (at, (form, _)) in FORMS.iter().enumerate() {
        let (name, timestamp) = (form_name(at), wire::timestamp(now));
        let report = format!(
            r#"{{"container_name":"{name}","timestamp":"{timestamp}","cpu_percent":1.5,"disk_usage_bytes":null,"status":"running","cpu":{{}},{form}}}"#
        );
        pipeline.cmd("SET").arg(format!("system:metrics:{name}")).arg(&report).ignore();
        pipeline.cmd("ZADD").arg("system:containers").arg(millis(now)).arg(&name).ignore();
        pipeline.cmd("XADD").arg("system:history:forms").arg(format!("{}-{}", millis(now), at + 1));
        pipeline.arg("report").arg(&report).ignore();
    }
    pipeline.exec(&mut valkey.connection()).unwrap();
}

/// Writes the history of a container: reports at these times, oldest first.
pub fn remember(valkey: &Valkey, number: usize, times: impl Iterator<Item = SystemTime>) {
    let mut connection = valkey.connection();
    let times: Vec<SystemTime> = times.collect();
    for (part, times) in times.chunks(500).enumerate() {
        let mut pipeline = redis::pipe();
        for (at, time) in times.iter().enumerate() {
            let report = report(number, *time, part * 500 + at).to_string();
            let key = format!("system:history:{}", name(number));
            pipeline.cmd("XADD").arg(key).arg(format!("{}-1", millis(*time))).arg("report").arg(report).ignore();
        }
        pipeline.exec(&mut connection).unwrap();
    }
}

/// Unix milliseconds.
pub fn millis(time: SystemTime) -> u64 {
    u64::try_from(time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}
