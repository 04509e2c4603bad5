//! The same commands without an agent: their least cost to a server.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use redis::Cmd;
use tests::valkey::Valkey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::agents::{Fleet, INTERVAL};
use crate::servers;

/// Milliseconds of about a day ago: no entry is older.
const OLDEST: u64 = 1_763_900_000_000;
const NOW: u64 = 1_764_000_000_000;
/// Ticks between two heartbeats in the log.
const HEARTBEAT: u64 = 6;

/// The values that a client writes.
pub(crate) struct Words {
    pub(crate) report: String,
    pub(crate) entry: String,
}

/// The commands of a tick, packed, and the number of lines in their answers.
fn pipeline(fleet: &Fleet, words: &Words, client: usize, tick: u64) -> (Vec<u8>, usize) {
    let mut bytes = Vec::new();
    let mut lines = 0;
    let mut add = |answer: usize, command: &mut Cmd| {
        bytes.extend(command.get_packed_command());
        lines += answer;
    };
    let millis = NOW + tick * 5_000;
    for container in 0..fleet.containers {
        let name = format!("bare-{client:04}-{container:03}");
        let (report, log) = (format!("system:metrics:{name}"), format!("system:logstream:{name}"));
        add(1, redis::cmd("SET").arg(&report).arg(&words.report).arg("PX").arg(30_000));
        add(1, redis::cmd("ZADD").arg("system:containers").arg(millis).arg(&name));
        if fleet.history {
            let history = format!("system:history:{name}");
            let id = format!("{millis}-0");
            let add_report = redis::cmd("XADD")
                .arg(&history)
                .arg(&["MINID", "~"])
                .arg(OLDEST)
                .arg(id)
                .arg("report")
                .arg(&words.report)
                .to_owned();
            add(2, &mut add_report.clone());
            add(1, redis::cmd("PEXPIRE").arg(&history).arg(86_400_000));
        }
        if tick % HEARTBEAT == client as u64 % HEARTBEAT {
            let key = format!("system:logs:{name}:{millis:013}000000");
            add(1, redis::cmd("SET").arg(key).arg(&words.entry).arg("PX").arg(86_400_000));
            let add_entry = redis::cmd("XADD")
                .arg(&log)
                .arg(&["MAXLEN", "~"])
                .arg(10_000)
                .arg(format!("{millis}-0"))
                .arg("entry")
                .arg(&words.entry)
                .to_owned();
            add(2, &mut add_entry.clone());
            add(1, redis::cmd("PEXPIRE").arg(&log).arg(604_800_000));
            add(1, redis::cmd("DEL").arg(format!("system:logs:{name}:{:013}000000", millis - 90_000)));
        }
    }
    (bytes, lines)
}

/// Replays the commands over one connection per agent at the agents' pace, or over a few without a pause. Returns the
/// CPU time per report of one container.
pub(crate) fn replay(
    server: &Valkey,
    fleet: Fleet,
    words: &Words,
    clients: usize,
    paced: bool,
    long: Duration,
) -> Duration {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let port = server.port;
    // Ids start again.
    let _: () = server.query(&["FLUSHALL"]);
    let before = servers::cpu(server);
    let reports = runtime.block_on(async {
        let end = Instant::now() + long;
        let mut all = tokio::task::JoinSet::new();
        for client in 0..clients {
            let words = Words { report: words.report.clone(), entry: words.entry.clone() };
            all.spawn(async move {
                let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                stream.set_nodelay(true).unwrap();
                if paced {
                    tokio::time::sleep(INTERVAL.mul_f64(fastrand::f64())).await;
                }
                let mut ticks = tokio::time::interval(INTERVAL);
                let mut buffer = vec![0; 16_384];
                let mut done = 0;
                for tick in 0.. {
                    if paced {
                        ticks.tick().await;
                    }
                    if Instant::now() >= end {
                        break;
                    }
                    let (bytes, mut lines) = pipeline(&fleet, &words, client, tick);
                    stream.write_all(&bytes).await.unwrap();
                    while lines > 0 {
                        let read = stream.read(&mut buffer).await.unwrap();
                        let text = &buffer[..read];
                        let refused = text.starts_with(b"-") || text.windows(2).any(|two| two == b"\n-");
                        assert!(read > 0 && !refused, "{}", String::from_utf8_lossy(text));
                        lines -= text.iter().filter(|byte| **byte == b'\n').count();
                    }
                    done += fleet.containers;
                }
                done
            });
        }
        all.join_all().await.into_iter().sum::<usize>()
    });
    (servers::cpu(server) - before) / u32::try_from(reports).unwrap()
}

/// The server's CPU time per command as `valkey-benchmark` sends it, with this number of commands in a pipeline.
pub(crate) fn benchmark(server: &Valkey, words: &[&str], pipeline: u64) -> Duration {
    const TIMES: u32 = 50_000;
    let before = servers::cpu(server);
    let status = Command::new("valkey-benchmark")
        .args([
            "-p",
            &server.port.to_string(),
            "-r",
            "1000",
            "-q",
            "-n",
            &TIMES.to_string(),
            "-P",
            &pipeline.to_string(),
        ])
        .args(words)
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    (servers::cpu(server) - before) / TIMES
}
