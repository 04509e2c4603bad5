//! Two binaries of the agent, measured in turns, so that other load affects both alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::agent::Agent;

use crate::table::Row;

/// Turns of each binary.
const TURNS: usize = 4;

/// Measurements of one turn: name, value and unit.
pub type Measured = Vec<(&'static str, f64, &'static str)>;

/// The binary to compare with, if `cargo xtask bench --against` names one.
pub fn against() -> Option<PathBuf> {
    std::env::var_os("SYSTEM_MONITOR_AGAINST").map(PathBuf::from)
}

/// Starts an agent of this binary that pins nothing, for Valkey on a port of this machine.
pub fn start(binary: &Path, port: u16, arguments: &[&str], environment: &[(&str, &str)]) -> Agent {
    let mut command = Command::new(binary);
    command.args(arguments).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("MONITOR_PIN", "off").env("VALKEY_HOST", "127.0.0.1").env("VALKEY_PORT", port.to_string());
    command.envs(environment.iter().copied());
    Agent::spawn(command)
}

/// Measures A, B, A, B, …; a row for each measurement with both medians and their ratio.
pub fn compare(what: &str, other: &Path, mut measure: impl FnMut(&Path) -> Measured) -> Vec<Row> {
    let binaries = [tests::binary(), other.to_owned()];
    let mut measured: BTreeMap<(&str, &str), [Vec<f64>; 2]> = BTreeMap::new();
    for turn in 1..=TURNS {
        for (side, binary) in binaries.iter().enumerate() {
            for (name, value, unit) in measure(binary) {
                println!("{what}, turn {turn} of {TURNS}, {}: {name} {value:.3} {unit}", ["this", "the other"][side]);
                measured.entry((name, unit)).or_default()[side].push(value);
            }
        }
    }
    let row = |((name, unit), sides): ((&str, &str), [Vec<f64>; 2])| {
        let [this, that] = sides.map(median);
        let measured = format!("{:.2} ({this:.3} / {that:.3} {unit})", this / that);
        Row::new(format!("{what}: {name}, this per the other"), measured, None)
    };
    measured.into_iter().map(row).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    if values.len().is_multiple_of(2) { f64::midpoint(values[half - 1], values[half]) } else { values[half] }
}
