//! The web page of a fleet in a real browser, out of a real Valkey.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::time::{Duration, SystemTime};

use monitor::findings::Level;
use monitor::wire;
use serde_json::Value;
use tests::agent::{self, Agent};
use tests::browser::Browser;
use tests::fleet::{self, Reports};
use tests::page::{api, assert_quiet, cell, row, shown};
use tests::valkey::Valkey;
use tests::{eventually, free_port, skip};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Keys without a character, from WebDriver's table.
const END: char = '\u{E010}';
const DOWN: char = '\u{E015}';

/// A dashboard on a port, for the data in a server.
fn dashboard(port: u16, valkey: &Valkey) -> Agent {
    let (listen, url) = (format!("127.0.0.1:{port}"), format!("valkey://127.0.0.1:{}", valkey.port));
    let arguments = ["dashboard", "--listen", &listen, "--valkey-url", &url, "--interval", "1s"];
    let dashboard = Agent::spawn(agent::command(&arguments, &[]));
    assert!(eventually(TIMEOUT, || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).is_some());
    dashboard
}

#[test]
fn a_thousand_containers_of_a_fleet_cost_the_rows_in_sight() {
    let browser = match Browser::start() {
        Ok(browser) => browser,
        Err(reason) => skip!("{reason}"),
    };
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let fleet = Reports::keep(&valkey, 1000, Duration::from_secs(2));
    let port = free_port();
    let _dashboard = dashboard(port, &valkey);
    browser.open(&format!("http://127.0.0.1:{port}/"));
    browser.wait("not all are counted", "document.querySelector('.segments button').textContent === 'All 1,000'");
    browser.wait("the hosts are not told apart", "document.querySelector('tr.host') !== null");
    assert!(
        browser.text("h1").starts_with("c-0007 is in trouble: memory at 99 % of 512 MiB"),
        "{}",
        browser.text("h1")
    );
    assert!(
        browser.text("tr.host").starts_with("host-3"),
        "the host of the worst comes first: {}",
        browser.text("tr.host")
    );
    let rows = "document.querySelectorAll('tbody tr').length";
    assert!(browser.eval(rows).as_u64().unwrap() < 100, "{}", browser.eval(rows));
    assert_eq!(
        browser.eval("document.querySelector('table').getAttribute('aria-rowcount')"),
        "1005",
        "with the head and four hosts"
    );
    browser.press(DOWN);
    browser.press(END);
    browser.wait(
        "End does not lead to the end",
        "document.activeElement.closest('tr')?.getAttribute('aria-rowindex') === '1005'",
    );
    assert!(browser.eval(rows).as_u64().unwrap() < 100);
    browser.write("input[type=search]", "c-0499");
    browser.wait(
        "the filter finds nothing",
        "[...document.querySelectorAll('tbody a')].map((link) => link.textContent).join() === 'c-0499'",
    );
    // The report of an agent that has died expires.
    drop(fleet);
    let _: u64 = valkey.query(&["DEL", "system:metrics:c-0499"]);
    browser.wait(
        "nobody misses the container",
        &format!("/^no report/.test({}?.querySelector('.why').textContent)", row("c-0499")),
    );
    assert_eq!(cell(&browser, "c-0499", "status"), "unknown");
    assert_quiet(&browser, port);
}

#[test]
fn causes_of_both_schemas_are_shown_side_by_side_and_damaged_ones_as_unknown() {
    let browser = match Browser::start() {
        Ok(browser) => browser,
        Err(reason) => skip!("{reason}"),
    };
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    fleet::write_forms(&valkey);
    let port = free_port();
    let _dashboard = dashboard(port, &valkey);
    for (at, (form, cause)) in fleet::FORMS.iter().enumerate() {
        let name = fleet::form_name(at);
        browser.open(&format!("http://127.0.0.1:{port}/#/container/{name}"));
        browser.wait(form, &format!("document.querySelector('h1')?.textContent === '{name}'"));
        let row = cause.unwrap_or("the report does not say why it is absent");
        let shown = "document.querySelector('[data-metric=disk_usage_bytes] .from')";
        browser.wait(form, &format!("{shown}.textContent === '{row}'"));
        let chart = format!("Not measured: {}", cause.unwrap_or("the reports do not say why"));
        let shown = "document.querySelector('[data-chart=\"Disk space\"] .cause')";
        browser.wait(form, &format!("{shown}.textContent === '{chart}'"));
        // The API hands on what the agent wrote.
        let written: Value = serde_json::from_str(&format!("{{{form}}}")).unwrap();
        let report = api(&browser, &format!("containers/{name}"));
        assert_eq!([&report["absent"], &report["causes"]], [&written["absent"], &written["causes"]], "{form}");
    }
    assert_quiet(&browser, port);
}

#[test]
fn a_day_out_of_valkeys_history_is_drawn_with_its_gap_and_its_events() {
    let browser = match Browser::start() {
        Ok(browser) => browser,
        Err(reason) => skip!("{reason}"),
    };
    let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
    let (now, hour) = (SystemTime::now(), Duration::from_secs(3600));
    // A reading every five minutes, except for the two hours without an agent.
    let readings = (0..25 * 12).rev().filter(|back| !(8 * 12..10 * 12).contains(back));
    fleet::remember(&valkey, 0, readings.map(|back| now - hour / 12 * back));
    let said = "out of memory: the kernel killed 1 process, 1 in all";
    let entry = wire::entry("c-0000", now - hour * 5, Level::Error, said);
    let id = format!("{}-1", fleet::millis(now - hour * 5));
    valkey.query::<String>(&["XADD", "system:logstream:c-0000", &id, "entry", &entry]);
    let _reports = Reports::keep(&valkey, 3, Duration::from_secs(1));
    let port = free_port();
    let _dashboard = dashboard(port, &valkey);
    browser.open(&format!("http://127.0.0.1:{port}/#/container/c-0000"));
    browser.wait("there are no charts", "document.querySelectorAll('.chart canvas').length > 3");
    assert!(!browser.text("#events").contains("agent away"), "{}", browser.text("#events"));
    browser.click(".charts-toolbar .segments button:last-child");
    browser.wait(
        "the gap is not told",
        "document.querySelector('#events').textContent.includes('agent away: no reports for 2 h')",
    );
    let events = browser.text("#events");
    assert!(events.contains(said) && !events.contains("restarted"), "{events}");

    // The value at the cursor is the API's number of that time.
    let past = api(&browser, "history/c-0000?metric=memory_usage_bytes,cpu_percent&since=24h");
    let times: Vec<f64> = past["times"].as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    let day = times[times.len() - 1] - times[0];
    assert!(day > 23.0 * 3_600_000.0 && times.len() > 200, "{day} ms, {} readings", times.len());
    for fraction in [0.1, 0.5, 0.9] {
        browser.point("[data-chart='CPU of its allowance'] .u-over", fraction);
        browser.wait(
            "the cursor says no time",
            "/\\d\\d:\\d\\d:\\d\\d/.test(document.querySelector('.pointed').textContent)",
        );
        let clock = |ms: f64| format!("new Date({ms}).toLocaleTimeString('en-GB')");
        let told = browser.text(".pointed");
        let nearest = times.partition_point(|time| *time < times[0] + day * fraction);
        // A pixel is more than a minute, so the reading before or behind it may be the nearest one.
        let near = nearest.saturating_sub(1)..(nearest + 2).min(times.len());
        let at = near.into_iter().find(|at| told.contains(browser.eval(&clock(times[*at])).as_str().unwrap()));
        let at = at.unwrap_or_else(|| panic!("at {fraction} the page says {told}, the API {}", times[nearest]));
        let shown_there = browser.text("[data-chart='CPU of its allowance'] .legend .value");
        let (number, rounding) = shown(&shown_there).unwrap();
        let value = past["series"]["cpu_percent"][at].as_f64().unwrap();
        assert!((number - value).abs() <= rounding, "at {told} the page says {shown_there}, the API {value}");
    }
    assert_quiet(&browser, port);
}
