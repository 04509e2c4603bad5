//! Everything one does with this repository.

use std::process::{Command, ExitCode};

fn main() -> ExitCode {
    let run = |args: &[&str]| Command::new("cargo").args(args).status().is_ok_and(|status| status.success());
    let passed = match std::env::args().nth(1).as_deref() {
        Some("test") => run(&["test"]),
        _ => false,
    };
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
