//! Reads what system-monitor wrote to Valkey: `reader HOST:PORT latest | history NAME | log NAME`.
//!
//! Takes the crates anyhow, redis and serde_json.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a program that prints, and has arguments")]

use anyhow::{Context, bail};
use redis::{Commands, Connection};
use serde_json::Value;

const SHOWN: &[&str] = &["cpu_percent", "memory_usage_bytes", "network_rx_bytes", "disk_usage_bytes", "process_count"];
const PAGE: usize = 500;

/// An entry of a stream: its id, and names and values of its fields.
type StreamEntry = (String, Vec<(String, String)>);

/// Calls `handle` with each entry of a stream, oldest first, page by page.
fn stream(valkey: &mut Connection, key: &str, field: &str, mut handle: impl FnMut(&str, &Value)) -> anyhow::Result<()> {
    let mut start = "-".to_owned();
    loop {
        let page: Vec<StreamEntry> =
            redis::cmd("XRANGE").arg(key).arg(&start).arg("+").arg("COUNT").arg(PAGE).query(valkey)?;
        let Some((last, _)) = page.last() else { return Ok(()) };
        start = format!("({last}");
        for (id, fields) in &page {
            let (_, document) = fields.iter().find(|(name, _)| name == field).context("an entry of another kind")?;
            handle(id, &serde_json::from_str(document)?);
        }
    }
}

/// Why a number is `null`: `absent` has an index into `causes` (schema 3), or the text itself (schema 2).
fn cause<'a>(report: &'a Value, name: &str) -> &'a str {
    let told = &report["absent"][name];
    let index = told.as_u64().and_then(|index| usize::try_from(index).ok());
    index.map_or(told, |index| &report["causes"][index]).as_str().unwrap_or("no cause given")
}

/// A number as text. One that was not measured is `null`, with its cause.
fn number(report: &Value, name: &str) -> String {
    match &report[name] {
        Value::Number(value) if value.is_f64() => format!("{name}={:.1}", value.as_f64().unwrap_or_default()),
        Value::Number(value) => format!("{name}={value}"),
        _ => format!("{name}=null ({})", cause(report, name)),
    }
}

fn numbers(report: &Value, names: &[&str]) -> String {
    names.iter().map(|name| number(report, name)).collect::<Vec<_>>().join(" ")
}

fn latest(valkey: &mut Connection) -> anyhow::Result<()> {
    let names: Vec<String> = valkey.zrange("system:containers", 0, -1)?;
    for name in names {
        let text: Option<String> = valkey.get(format!("system:metrics:{name}"))?;
        let Some(text) = text else {
            println!("{name}: no agent reports it");
            continue;
        };
        let report: Value = serde_json::from_str(&text)?;
        println!("{name} {} {}", report["status"].as_str().unwrap_or("?"), numbers(&report, SHOWN));
    }
    Ok(())
}

fn history(valkey: &mut Connection, name: &str) -> anyhow::Result<()> {
    stream(valkey, &format!("system:history:{name}"), "report", |id, report| {
        println!("{id} {}", numbers(report, &SHOWN[..2]));
    })
}

fn log(valkey: &mut Connection, name: &str) -> anyhow::Result<()> {
    stream(valkey, &format!("system:logstream:{name}"), "entry", |_, entry| {
        let text = |field: &str| entry[field].as_str().unwrap_or("?");
        println!("{} {} {}", text("timestamp"), text("level"), text("message"));
    })
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let connect = |address: &str| -> anyhow::Result<Connection> {
        Ok(redis::Client::open(format!("redis://{address}/"))?.get_connection()?)
    };
    match arguments[..] {
        [address, "latest"] => latest(&mut connect(address)?),
        [address, "history", name] => history(&mut connect(address)?, name),
        [address, "log", name] => log(&mut connect(address)?, name),
        _ => bail!("usage: reader HOST:PORT latest | history NAME | log NAME"),
    }
}
