//! The faults, run in parallel in small groups.

use std::time::Duration;

use tests::skip;

use crate::case::Case;
use crate::cases::CASES;
use crate::run::run;

#[test]
fn nothing_is_lost_and_nothing_is_twice_whatever_goes_wrong() {
    if !tests::has("valkey-server") || !tests::has("openssl") {
        skip!("valkey-server or openssl is not installed");
    }
    let mut failed = Vec::new();
    println!(
        "| fault | lasted | written again after | samples lost | log entries lost | sent again | memory | longest interval | end |"
    );
    // With all of them at once a small machine would be the fault.
    for some in CASES.chunks(8) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|case| (case.name, scope.spawn(|| run(case)))).collect();
            for (name, thread) in running {
                match thread.join().unwrap_or_else(|_| Err("the test itself failed".to_owned())) {
                    Ok(row) => println!("{row}"),
                    Err(why) => failed.push(format!("{name}: {why}")),
                }
            }
        });
    }
    assert!(failed.is_empty(), "{}", failed.join("\n\n"));
}

/// Repeats a case of the matrix with an outage of a minute.
#[test]
#[ignore = "takes more than a minute; its figures are in docs/reliability.md"]
fn a_server_that_is_frozen_for_a_minute_costs_no_sample() {
    let frozen = CASES.iter().find(|case| case.name == "frozen").unwrap();
    match run(&Case { lasts: Duration::from_secs(60), ..*frozen }) {
        Ok(row) => println!("{row}"),
        Err(why) => panic!("{why}"),
    }
}
