//! The costs of a thousand containers in the browser that shows them, and of a day of history for its reader.
//!
//! `cargo xtask bench page [SECONDS]`: SECONDS is the duration of each of the two runs. The machine should have little
//! other load.
#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_methods, reason = "a benchmark")]

use std::process::ExitCode;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use serde_json::json;
use tests::agent::{self, Agent};
use tests::browser::Browser;
use tests::fleet::{self, Reports};
use tests::free_port;
use tests::http::get;
use tests::valkey::Valkey;

const CONTAINERS: usize = 1000;
const INTERVAL: Duration = Duration::from_secs(1);
/// A history of a day, at the default interval.
const READINGS: u64 = 24 * 3600 / 5;
/// The longest response time that a visitor perceives as immediate: <https://web.dev/articles/rail>.
const AT_ONCE_MS: f64 = 100.0;
/// Changes of the filter and the order.
const TURNS: u32 = 20;
/// A sixtieth of a second.
const FRAME_MS: f64 = 16.7;

fn main() -> ExitCode {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(20);
    let valkey = Valkey::start(&[]).expect("valkey-server is not installed");
    let _reports = Reports::keep(&valkey, CONTAINERS, INTERVAL);
    let now = SystemTime::now();
    let times = (0..READINGS).rev().map(|back| now - Duration::from_secs(5 * back));
    fleet::remember(&valkey, 0, times);
    let port = free_port();
    let (listen, url) = (format!("127.0.0.1:{port}"), format!("valkey://127.0.0.1:{}", valkey.port));
    let _dashboard = Agent::spawn(agent::command(
        &["dashboard", "--listen", &listen, "--valkey-url", &url, "--interval", "1s"],
        &[],
    ));
    let browser = Browser::start().unwrap();
    sleep(INTERVAL * 3);
    browser.open(&format!("http://{listen}/"));
    browser.wait("not all are counted", "document.querySelector('.segments button')?.textContent === 'All 1,000'");
    // The beginnings of the sparklines are requested first.
    sleep(INTERVAL * 5);
    println!("| What | Measured | Promised | |\n|---|---|---|---|");
    let long = Duration::from_secs(seconds);
    let kept = [updates(&browser, long), scrolling(&browser, long), answers(&browser), day(&browser, port)];
    println!("\ncargo xtask bench page {seconds}");
    ExitCode::from(u8::from(kept.contains(&false)))
}

fn row(what: &str, measured: &str, promised: f64, value: f64) -> bool {
    let kept = value <= promised;
    println!("| {what} | {measured} | {promised} ms | {} |", if kept { "kept" } else { "BROKEN" });
    kept
}

/// The main thread's time for a tick of all containers: in total, and in the longest task.
fn updates(browser: &Browser, long: Duration) -> bool {
    let before = browser.costs();
    sleep(long);
    let after = browser.costs();
    let ticks = long.as_secs_f64() / INTERVAL.as_secs_f64();
    let each = |name: &str| (after[name] - before[name]) / ticks * 1000.0;
    let all = each("TaskDuration");
    let parts = format!("{all:.1} ms: style {:.1}, layout {:.1}", each("RecalcStyleDuration"), each("LayoutDuration"));
    println!(
        "| elements in the page, its heap | {:.0}, {:.1} MiB | | |",
        after["Nodes"],
        after["JSHeapUsedSize"] / f64::from(1 << 20)
    );
    row("an update of 1,000 containers, processor time of the main thread", &parts, AT_ONCE_MS / 2.0, all)
}

/// Scrolls continuously, and measures the time of each frame.
fn scrolling(browser: &Browser, long: Duration) -> bool {
    let script = format!(
        "new Promise((done) => {{
            const main = document.getElementById('main');
            const [frames, began] = [[], performance.now()];
            let [last, step] = [null, 60];
            const frame = (now) => {{
                if (last !== null) frames.push(now - last);
                last = now;
                const before = main.scrollTop;
                main.scrollTop += step;
                if (main.scrollTop === before) step = -step;
                if (now - began < {}) requestAnimationFrame(frame);
                else done(frames.sort((a, b) => a - b));
            }};
            requestAnimationFrame(frame);
        }})",
        long.as_millis()
    );
    let before = browser.costs();
    let frames = browser.eval(&script);
    let after = browser.costs();
    let frames: Vec<f64> = frames.as_array().unwrap().iter().filter_map(serde_json::Value::as_f64).collect();
    let percentile = |part: usize| frames[(frames.len() - 1) * part / 100];
    println!(
        "| frames while scrolling, drawn without a graphics card: median, 95 %, worst | {:.1}, {:.1}, {:.1} ms | | |",
        percentile(50),
        percentile(95),
        percentile(100)
    );
    let each = (after["TaskDuration"] - before["TaskDuration"]) / frames.len() as f64 * 1000.0;
    row("a frame then, processor time of the main thread", &format!("{each:.1} ms"), FRAME_MS, each)
}

/// The time to apply the filter while typing, and to sort the rows by another column.
fn answers(browser: &Browser) -> bool {
    let each = |action: &str| {
        let script = format!(
            "(() => {{ for (let turn = 0; turn < {TURNS}; turn += 1) {{ {action}; document.body.offsetHeight; }} }})()"
        );
        let before = browser.costs()["TaskDuration"];
        browser.eval(&script);
        (browser.costs()["TaskDuration"] - before) / f64::from(TURNS) * 1000.0
    };
    let input = "document.querySelector('input[type=search]')";
    let filter = each(&format!("{input}.value = turn % 2 ? '' : 'c-0'; {input}.dispatchEvent(new Event('input'))"));
    let sort = each("document.querySelector('th.cpu button').click()");
    browser.eval(&format!("{input}.value = '', {input}.dispatchEvent(new Event('input'))"));
    let filtered = row("a letter in the filter, likewise", &format!("{filter:.1} ms"), AT_ONCE_MS, filter);
    row("another order, likewise", &format!("{sort:.1} ms"), AT_ONCE_MS, sort) && filtered
}

/// A day out of Valkey: the time of the server, and the time until the charts are drawn.
fn day(browser: &Browser, port: u16) -> bool {
    let began = Instant::now();
    let answer = get(port, "/api/v1/history/c-0000?metric=cpu_percent,memory_usage_bytes&since=24h").json();
    let took = began.elapsed();
    println!(
        "| a day of history, {READINGS} reports read and made {} points | {} ms | | |",
        answer["times"].as_array().unwrap().len(),
        took.as_millis()
    );
    browser.eval("location.hash = '#/container/c-0000'");
    browser.wait("there are no charts", "document.querySelectorAll('.chart canvas').length > 3");
    // The browser records the first few hundred requests only.
    browser.eval("performance.clearResourceTimings()");
    let began = Instant::now();
    browser.eval(&format!(
        "[...document.querySelectorAll('.charts-toolbar .segments button')].find((button) => button.textContent === {}).click()",
        json!("24 h")
    ));
    let answered = "performance.getEntriesByType('resource').some(({ name }) => name.includes('since=24h'))";
    browser.wait("no day is asked for", answered);
    browser.eval("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))");
    let shown = began.elapsed().as_secs_f64() * 1000.0;
    row("from the click on 24 h until the charts stand", &format!("{shown:.0} ms"), 5000.0, shown)
}
