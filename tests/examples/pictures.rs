//! Takes the pictures of the README from the real program: `cargo xtask pictures` passes the directory for them.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a tool for a person at a terminal"
)]

#[path = "pictures/terminal.rs"]
mod terminal;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use tests::agent::{self, Agent};
use tests::browser::Browser;
use tests::containers::{Containers, Plan};
use tests::{binary, free_port};

/// Time until sparklines and charts have data to show.
const PAST: Duration = Duration::from_secs(75);
/// The largest size of a picture in bytes: a README is also read over slow connections.
const LARGEST: u64 = 200_000;
const HOUR: &str = "3600000";

/// A small shop with some problems.
const SHOP: &[Plan<'_>] = &[
    Plan { name: "web", prepare: |group| limit(group, 500, 256), load: &["duty", "120", HOUR] },
    Plan { name: "checkout", prepare: |group| limit(group, 100, 128), load: &["burn", HOUR] },
    Plan { name: "postgres", prepare: |group| limit(group, 1000, 512), load: &["hold", "170000000"] },
    Plan { name: "search", prepare: |group| limit(group, 500, 96), load: &["hold", "98500000"] },
    Plan { name: "mailer", prepare: |group| limit(group, 250, 64), load: &["chat", "700000", HOUR] },
    Plan { name: "valkey", prepare: |group| limit(group, 500, 128), load: &["chat", "90000", HOUR] },
    Plan { name: "cron", prepare: |_| (), load: &["idle"] },
    Plan { name: "thumbnails", prepare: |group| limit(group, 500, 64), load: &["idle"] },
];
/// Takes more memory than the limit of `thumbnails`, while the agent samples.
const GREEDY: &[&str] = &["hog", "200000000", "2"];

fn limit(group: &tests::cgroup::Group, thousandths: u64, mebibytes: u64) {
    group.limit_cpu(thousandths);
    group.limit_memory(mebibytes << 20);
}

fn main() {
    let into = PathBuf::from(std::env::args_os().nth(1).expect("the directory for the pictures"));
    std::fs::create_dir_all(&into).unwrap();
    let names: Vec<&str> = SHOP.iter().map(|plan| plan.name).collect();
    let port = free_port();
    let (listen, names) = (format!("127.0.0.1:{port}"), names.join(","));
    let watch = ["--scope", "host", "--interval", "1s", "--containers", &names];
    let serve = [&watch[..], &["--listen", &listen]].concat();
    let _agent = Agent::spawn(agent::command(&serve, &[("VALKEY_URL", "none")]));
    let mut shop = Containers::new("shop", SHOP).expect("control groups take root");
    let browser = Browser::start().unwrap();
    let top = terminal::Terminal::start(
        &[&[binary().to_str().unwrap(), "top"], &watch[..]].concat(),
        terminal::Size { columns: 150, lines: 20 },
    );
    sleep(PAST / 3);
    shop.burden(SHOP.len() - 1, GREEDY);
    sleep(PAST * 2 / 3);

    let url = format!("http://127.0.0.1:{port}/");
    for scheme in ["light", "dark"] {
        browser.prefer(scheme);
        browser.scale(1440, 600, 1.25);
        browser.open(&url);
        browser.wait("no trouble is shown", "document.querySelector('h1.critical') !== null");
        picture(&browser, &into.join(format!("overview-{scheme}.png")));
        browser.scale(1440, 900, 1.25);
        browser.open(&format!("{url}#/container/checkout"));
        browser.wait("there are no charts", "document.querySelectorAll('.chart canvas').length > 8");
        picture(&browser, &into.join(format!("container-{scheme}.png")));
    }
    browser.open("about:blank");
    let screen = top.screen();
    browser.scale(screen.width, screen.height, 1.5);
    browser.eval(&format!("document.write({})", serde_json::json!(screen.page)));
    picture(&browser, &into.join("top.png"));
}

/// Takes a picture and makes it small.
fn picture(browser: &Browser, file: &Path) {
    // A picture waits for the end of animations.
    sleep(Duration::from_secs(3));
    browser.picture(file);
    let quantized = Command::new("pngquant")
        .args(["--force", "--strip", "--skip-if-larger", "--output"])
        .args([file, file])
        .status();
    assert!(quantized.unwrap().success(), "pngquant {}", file.display());
    let size = std::fs::metadata(file).unwrap().len();
    println!("{}: {size} bytes", file.display());
    assert!(size < LARGEST, "{} has more than {LARGEST} bytes", file.display());
}
