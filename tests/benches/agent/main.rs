//! The cost of the agent, against the floor that the kernel sets, both in one run.
//!
//! `cargo xtask bench [SECONDS]`: SECONDS is the duration of the long run. With `--against BINARY` the agent is
//! measured in turns with the other one, each turn a tenth of that.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark"
)]

#[path = "../common/against.rs"]
mod against;
#[path = "../common/clock.rs"]
mod clock;
#[path = "../common/cpu.rs"]
mod cpu;
mod in_process;
mod process;
#[path = "../common/table.rs"]
mod table;

use std::time::Duration;

use tests::valkey::Valkey;

fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(600);
    let long = Duration::from_secs(seconds);
    if let Some(other) = against::against() {
        let long = long / 10;
        let what = format!("one container, {} s", long.as_secs());
        table::print(&against::compare(&what, &other, |binary| process::turn(binary, long)));
        return;
    }
    let mut rows = vec![in_process::files(), in_process::processes(), process::size()];
    match Valkey::start(&[]) {
        Some(valkey) => {
            rows.push(process::start(&valkey));
            for ebpf in ["off", "auto"] {
                rows.extend(process::long_run(&valkey, ebpf, long));
            }
        }
        None => println!("SKIPPED: valkey-server is not installed"),
    }
    let is_kept = table::print(&rows);
    println!("\ncargo xtask bench {seconds}");
    if !is_kept {
        std::process::exit(1);
    }
}
