//! The cost of watching a whole machine, against the floor that the kernel sets, both in one run.
//!
//! `cargo xtask bench host [N…]`: with N containers, each a control group where Docker would make it. With `--against
//! BINARY` only the agent is measured, in turns with the other one.
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
mod agents;
#[path = "../common/clock.rs"]
mod clock;
mod containers;
#[path = "../common/cpu.rs"]
mod cpu;
mod floor;
mod latencies;
mod machine;
mod programs;
mod readings;
#[path = "../common/table.rs"]
mod table;

use containers::Containers;

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let numbers = if numbers.is_empty() { vec![10, 100, 1000, 10_000] } else { numbers };
    if !tests::is_root() {
        println!("SKIPPED: control groups take root");
        return;
    }
    let other = against::against();
    let mut rows = Vec::new();
    for number in numbers {
        let containers = Containers::start(number);
        if let Some(other) = &other {
            rows.extend(against::compare(&format!("{number} containers"), other, agents::turn));
            continue;
        }
        rows.extend(readings::readings(&containers));
        if number == 1000 {
            rows.extend(agents::whole_agent(number));
        }
    }
    if other.is_none() {
        rows.extend(latencies::latencies());
        rows.extend(agents::ends());
        rows.extend(programs::programs());
    }
    table::print(&rows);
}
