//! Known loads: does exactly the work in its arguments, reports it in one line, and waits for the end of its input.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool of the tests"
)]

mod descriptors;
mod files;
mod held;
mod memory;
mod network;
mod processor;
mod ring;
mod tasks;
mod time;
mod way;

use std::fs::File;
use std::io::{Read, Write};
use std::time::Duration;

use crate::files::{around_the_cache, map, name, open, read, tables, write_behind, write_out};
use crate::held::Held;
use crate::memory::{hog, share, sweep};
use crate::network::{chat, leave_unread, tcp, udp, udp_cut};
use crate::processor::{burn, duty, spend};
use crate::tasks::{child, exec_nothing, exit_together, fork_and_stay, park, repeat};
use crate::way::Way;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let text = |at: usize| arguments.get(at).cloned().unwrap_or_default();
    let number = |at: usize| text(at).parse::<u64>().unwrap_or_default();
    let held = match text(0).as_str() {
        "idle" => Held::Nothing,
        "burn" => burn(number(1)),
        "duty" => duty(number(1), number(2)),
        "udp" => udp(&Way::new(&text(1), &text(4), &text(5)), number(2), number(3)),
        "udp-cut" => udp_cut(&Way::new(&text(1), &text(4), &text(5)), number(2), number(3)),
        "tcp" => tcp(&Way::new(&text(1), &text(4), &text(5)), number(2), number(3)),
        "fork" => repeat(number(1), || child(|| 0)),
        "threads" => repeat(number(1), || std::thread::spawn(|| ()).join().unwrap()),
        "exec" => repeat(number(1), || child(exec_nothing)),
        "exec-in-thread" => repeat(number(1), || child(|| std::thread::spawn(exec_nothing).join().unwrap())),
        "exit-together" => repeat(number(1), || child(|| exit_together(number(2)))),
        "hog" => hog(number(1), number(2)),
        "write-around" => around_the_cache(&text(1), number(2), |disk, block| disk.write_all(block)),
        "read-around" => around_the_cache(&text(1), number(2), |disk, block| disk.read_exact(block)),
        "read" => read(&text(1), number(2), number(3).max(1)),
        "map" => map(&text(1), number(2)),
        "write-behind" => write_behind(&text(1), number(2)),
        "write-out" => write_out(&text(1), number(2), Duration::from_millis(number(3))),
        "name" => name(&text(1), number(2)),
        "share" => share(number(1)),
        "leave-unread" => leave_unread(),
        "sweep" => sweep(number(1), number(2)),
        "hold" => Held::Memory(vec![7; usize::try_from(number(1)).unwrap()]),
        "chat" => chat(number(1), number(2)),
        "spend" => spend(Duration::from_millis(number(1))),
        "park" => park(number(1)),
        "open" => open(number(1), Duration::from_micros(number(2))),
        "open-and-close" => repeat(number(1), || drop(File::open("/dev/null").unwrap())),
        "tables" => tables(number(1)),
        "descriptors" => {
            descriptors::step_through();
            Held::Nothing
        }
        "fork-and-stay" => fork_and_stay(number(1)),
        other => panic!("{other:?} is no load"),
    };
    println!("done");
    std::io::stdout().flush().unwrap();
    // All resources stay open until the test has read them.
    _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(held);
}
