//! The web page in a real browser, against real agents.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use serde_json::{Value, json};
use tests::agent::{self, Agent};
use tests::browser::Browser;
use tests::containers::{Containers, Plan};
use tests::page::{self, api, assert_quiet, nameless, row, shown, wait_for_row};
use tests::{eventually, free_port, is_root, oracle, skip};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Keys without a character, from WebDriver's table.
const ESCAPE: char = '\u{E00C}';
const DOWN: char = '\u{E015}';
/// A name that is harmful as markup, as an attribute, in a terminal and in a path.
const HOSTILE: &str = "\"><img src=x onerror=document.title='owned'>\u{1b}[31m\n&amp; 100%/../x";

/// Starts a browser, or skips the test.
macro_rules! browser {
    () => {
        match Browser::start() {
            Ok(browser) => browser,
            Err(reason) => skip!("{reason}"),
        }
    };
}

/// An agent of the whole machine that serves the page on a port. It leaves out other containers of the machine: the
/// page shows the rows that fit its window, and theirs might come first.
fn serve(port: u16, arguments: &[&str]) -> Agent {
    let listen = format!("127.0.0.1:{port}");
    let common = ["--scope", "host", "--interval", "500ms", "--disk-interval", "0s", "--listen", &listen];
    Agent::spawn(agent::command(&[&common, arguments].concat(), &[("VALKEY_URL", "none")]))
}

/// Starts containers by their names, or skips the test.
macro_rules! world {
    ($name:literal, $($container:expr),+) => {{
        if !is_root() {
            skip!("control groups take root");
        }
        match Containers::new($name, &[$($container),+]) {
            Some(world) => world,
            None => skip!("no control group can be made here"),
        }
    }};
}

mod tabs;
mod visitor;

#[test]
fn what_the_page_shows_is_what_the_api_says() {
    let browser = browser!();
    let _world = world!(
        "page",
        Plan { name: "page-spins", prepare: |group| group.limit_cpu(100), load: &["burn", "600000"] },
        Plan { name: "page-full", prepare: |group| group.limit_memory(64 << 20), load: &["hold", "65400000"] },
        Plan { name: HOSTILE, prepare: |_| (), load: &["open", "7"] }
    );
    let port = free_port();
    let _agent = serve(port, &["--containers", "page-spins,page-full,**onerror**"]);
    browser.prefer("light");
    let url = format!("http://127.0.0.1:{port}/");
    assert!(eventually(TIMEOUT, || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).is_some());
    browser.open(&url);
    for name in ["page-spins", "page-full"] {
        wait_for_row(&browser, name);
    }

    // The reason stands in words at the row, and the worst container is on top.
    browser.wait(
        "no word about throttling",
        &format!("/^throttled \\d+ % at 0.1 cores/.test({}?.querySelector('.why').textContent)", row("page-spins")),
    );
    browser.wait(
        "no word about memory",
        &format!("/memory at \\d+ % of 64.0 MiB/.test({}?.querySelector('.why').textContent)", row("page-full")),
    );
    // Asked at once: which container is worst may change with a tick.
    let worst = "[document.querySelector('h1').textContent, document.querySelector('tbody tr:not(.host, .spacer)')]";
    let shown = browser.eval(&format!(
        "(([headline, row]) => [headline, row.className, row.querySelector('a').textContent])({worst})"
    ));
    let [headline, class, name] = [0, 1, 2].map(|at| shown[at].as_str().unwrap_or_default());
    assert_eq!(class, "critical");
    assert!(headline.starts_with(name) && headline.contains("is in trouble: "), "{name}: {headline}");

    page::assert_row_is_the_report(&browser, "page-spins");
    sorted_and_filtered(&browser);
    hostile_name_is_harmless(&browser);
    container_page(&browser);
    agent_page(&browser);
    looks(&browser, &url);
    assert_quiet(&browser, port);
}

fn sorted_and_filtered(browser: &Browser) {
    let order = |class: &str| {
        let texts = browser.eval(&format!("[...document.querySelectorAll('tbody tr:not(.host, .spacer) .{class}')].map((cell) => cell.innerText.trim())"));
        let texts = texts.as_array().unwrap().clone();
        texts.iter().filter_map(|text| Some(shown(text.as_str()?)?.0)).collect::<Vec<f64>>()
    };
    browser.click("th.descriptors button");
    assert_eq!(browser.eval("document.querySelector('th.descriptors').getAttribute('aria-sort')"), "descending");
    assert!(order("descriptors").is_sorted_by(|a, b| a >= b), "{:?}", order("descriptors"));
    browser.click("th.descriptors button");
    assert!(order("descriptors").is_sorted(), "{:?}", order("descriptors"));
    browser.click("th.descriptors button");
    assert_eq!(browser.eval("document.querySelector('select').value"), "worst");

    browser.press('/');
    browser.write("input[type=search]", "page-sp");
    assert_eq!(
        browser.eval("[...document.querySelectorAll('tbody a')].map((link) => link.textContent)"),
        json!(["page-spins"])
    );
    browser.press(DOWN);
    assert_eq!(browser.eval("document.activeElement.textContent"), "page-spins");
    browser.write("input[type=search]", "no such thing");
    assert_eq!(browser.text(".empty"), "No container fits the filter.");
    browser.press(ESCAPE);
    wait_for_row(browser, "page-full");
}

fn hostile_name_is_harmless(browser: &Browser) {
    let link = "[...document.querySelectorAll('tbody a')].find((link) => link.textContent.includes('onerror'))";
    browser.wait("the hostile name is not shown", &format!("{link} !== undefined"));
    let text = browser.eval(&format!("{link}.textContent"));
    assert_eq!(text, HOSTILE.replace('\u{1b}', "␛").replace('\n', "␊"));
    browser.eval(&format!("{link}.click()"));
    browser.wait(
        "the page of the hostile name does not open",
        "document.querySelector('h1').textContent.includes('onerror')",
    );
    browser.wait(
        "no number of the hostile name",
        "document.querySelector('[data-metric=process_count] .now')?.textContent === '1'",
    );
    assert_eq!(browser.eval("document.querySelectorAll('img:not(.brand img)').length"), 0);
    assert!(!browser.eval("document.title").as_str().unwrap().starts_with("owned"));
    browser.press(ESCAPE);
    wait_for_row(browser, "page-spins");
}

fn container_page(browser: &Browser) {
    browser.eval(&format!("{}.querySelector('a').click()", row("page-spins")));
    browser
        .wait("the page of the container does not open", "document.querySelector('h1')?.textContent === 'page-spins'");
    browser.wait(
        "the charts have no lines",
        "document.querySelectorAll('.chart:not(:has(.canvas[hidden])) canvas').length >= 6",
    );
    // The chart is drawn: many pixels have the colour of the line.
    let drawn = r#"(() => {
        const chart = document.querySelector('[data-chart="Open descriptors"] canvas');
        const copy = document.createElement('canvas');
        [copy.width, copy.height] = [chart.width, chart.height];
        const context = copy.getContext('2d', { willReadFrequently: true });
        context.drawImage(chart, 0, 0);
        const { data } = context.getImageData(0, 0, copy.width, copy.height);
        let blue = 0;
        for (let at = 0; at < data.length; at += 4) if (data[at + 2] > data[at] + 60 && data[at + 3] > 60) blue += 1;
        return blue > 50;
    })()"#;
    browser.wait("the chart of the descriptors is empty", drawn);
    // Throttling began while the agent watched, or before: it is shown as an event.
    browser.wait("throttling is no event", "document.querySelector('#events').textContent.includes('CPU throttled')");
    browser.wait("the log is empty", "document.querySelectorAll('#log li:not(.none)').length > 0");
    browser.wait(
        "a limit is not named",
        r#"document.querySelector('[data-chart="CPU cores"]').textContent.includes('limit 0.10')"#,
    );
    // Absent numbers have the causes that the API states.
    let report = api(browser, "containers/page-spins");
    for (field, cause) in oracle::absent(&report).unwrap() {
        let shown = browser.eval(&format!("document.querySelector('[data-metric=\"{field}\"] .from').textContent"));
        assert_eq!(shown, cause, "{field}");
    }
    let metrics = api(browser, "metrics");
    assert_eq!(browser.eval("document.querySelectorAll('[data-metric]').length"), metrics.as_array().unwrap().len());
    assert!(browser.text("#about").contains(report["container_id"].as_str().unwrap()));
    // Dragging zooms all charts at once, and back.
    browser.eval("document.querySelector('.chart').scrollIntoView()");
    browser.drag(".chart .u-over", 0.7, 0.95);
    browser.wait("dragging does not zoom", "!document.querySelector('.charts-toolbar > button').hidden");
    browser.click(".charts-toolbar > button");
    browser.wait("the zoom stays", "document.querySelector('.charts-toolbar > button').hidden");
    assert_eq!(nameless(browser), [""; 0]);
    assert_eq!(page::faint(browser), json!([]), "too faint in light colours");
    browser.press(ESCAPE);
    wait_for_row(browser, "page-spins");
}

fn agent_page(browser: &Browser) {
    browser.press('a');
    browser.wait("the page of the agent does not open", "document.querySelectorAll('main.agent section').length === 3");
    let agent = api(browser, "agent");
    let text = browser.text("main");
    assert!(text.contains(agent["version"].as_str().unwrap()) && text.contains("0.5 s"), "{text}");
    for program in agent["programs"].as_array().unwrap() {
        let name = program["name"].as_str().unwrap();
        assert!(text.contains(name), "{name} is missing in {text}");
        if program["state"] == "refused" {
            assert!(text.contains(program["cause"].as_str().unwrap()), "{text}");
        }
    }
    browser.press(ESCAPE);
    wait_for_row(browser, "page-spins");
}

/// Checks the looks: dark and light, wide and narrow.
fn looks(browser: &Browser, url: &str) {
    let ground = || browser.eval("getComputedStyle(document.body).backgroundColor");
    let light = ground();
    assert_eq!(page::faint(browser), json!([]), "too faint in light colours");
    browser.prefer("dark");
    assert_ne!(ground(), light);
    assert_eq!(page::faint(browser), json!([]), "too faint in dark colours");
    browser.click("#theme");
    assert_eq!(ground(), light, "the switch does not switch");
    browser.open(url);
    wait_for_row(browser, "page-spins");
    assert_eq!(ground(), light, "the switch is forgotten");
    assert_eq!(nameless(browser), [""; 0]);
    browser.size(360, 740);
    browser.wait(
        "the page is wider than a phone",
        "document.getElementById('main').scrollWidth <= 360 && document.documentElement.scrollWidth <= 360",
    );
    wait_for_row(browser, "page-spins");
    let why = format!("{}?.querySelector('.why').innerText.includes('throttled')", row("page-spins"));
    browser.wait("a phone is not told why", &why);
    browser.eval(&format!("{}.querySelector('a').click()", row("page-spins")));
    browser.wait("the page of the container does not open", "document.querySelectorAll('.chart canvas').length > 3");
    browser.wait("the container's page is wider than a phone", "document.getElementById('main').scrollWidth <= 360");
    assert_eq!(page::faint(browser), json!([]), "too faint on a phone");
}

#[test]
fn the_page_survives_the_agents_restart() {
    let browser = browser!();
    let _world = world!("away", Plan { name: "page-stays", prepare: |_| (), load: &["idle"] });
    let port = free_port();
    let agent = serve(port, &["--containers", "page-stays"]);
    assert!(eventually(TIMEOUT, || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).is_some());
    browser.open(&format!("http://127.0.0.1:{port}/"));
    wait_for_row(&browser, "page-stays");
    browser.wait("it is not live", "document.getElementById('connection').textContent === 'live'");
    agent.end(libc::SIGKILL);
    browser.wait(
        "nobody says that the agent is away",
        "/^agent away since \\d\\d:\\d\\d:\\d\\d/.test(document.getElementById('connection').textContent)",
    );
    wait_for_row(&browser, "page-stays");
    let _agent = serve(port, &["--containers", "page-stays"]);
    browser.wait("it does not come back", "document.getElementById('connection').textContent === 'live'");
    let started = api(&browser, "agent")["started"].as_str().unwrap().to_owned();
    browser.press('a');
    let clock = format!("new Date('{started}').toLocaleTimeString('en-GB')");
    browser.wait(
        "the agent's page shows the one before",
        &format!("document.querySelector('main').textContent.includes({clock})"),
    );
}

#[test]
fn the_page_asks_for_the_token_and_forgets_it_with_the_tab() {
    let browser = browser!();
    if !is_root() {
        skip!("the scope of the machine takes root");
    }
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "correct-horse-battery-staple\n").unwrap();
    std::fs::set_permissions(token.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let port = free_port();
    let _agent = serve(port, &["--containers", "none", "--listen-token-file", token.path().to_str().unwrap()]);
    assert!(eventually(TIMEOUT, || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).is_some());
    browser.open(&format!("http://127.0.0.1:{port}/"));
    browser.wait("no token is asked for", "document.querySelector('dialog[open] input') !== null");
    browser.write("dialog input", "not the right token at all");
    browser.click("dialog button");
    browser.wait(
        "a wrong token is taken",
        "document.querySelector('dialog[open] .note')?.textContent.includes('does not know')",
    );
    // A character that no header can carry, as it comes with a token out of a document.
    browser.write("dialog input", "\u{200b}correct-horse-battery-staple");
    browser.click("dialog button");
    browser.wait(
        "after a token that cannot be sent nobody asks again",
        "document.querySelector('dialog[open] input')?.value === ''",
    );
    browser.write("dialog input", "correct-horse-battery-staple");
    browser.click("dialog button");
    browser.wait("the right token is refused", "document.querySelectorAll('tbody a').length > 0");
    assert_eq!(browser.eval("JSON.stringify(localStorage).includes('horse')"), false);
    assert_eq!(browser.eval("document.querySelector('dialog')"), Value::Null);
}

#[test]
fn a_browser_ends_with_its_test_even_when_its_driver_hangs() {
    let browser = browser!();
    let pids = browser.processes();
    assert!(!pids.is_empty());
    // SAFETY: the driver is the browser's, which still holds it.
    assert_eq!(unsafe { libc::kill(browser.driver(), libc::SIGSTOP) }, 0);
    drop(browser);
    let ended = || pids.iter().all(|pid| !std::path::Path::new(&format!("/proc/{pid}/exe")).exists()).then_some(());
    assert!(eventually(TIMEOUT, ended).is_some(), "some of {pids:?} are left");
}

/// Serves one document at every path, for as long as the tests run.
fn serve_document(document: String) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let document = document.clone();
            // The browser opens connections ahead of need, on which it asks nothing for minutes.
            std::thread::spawn(move || {
                _ = stream.read(&mut [0; 4096]);
                let head = "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\nContent-Length:";
                _ = write!(stream, "{head} {}\r\n\r\n{document}", document.len());
            });
        }
    });
    port
}

#[test]
fn requests_to_others_are_seen_and_those_of_the_browsers_start_page_are_not() {
    let browser = browser!();
    let stranger = serve_document("<p>a stranger".to_owned());
    let asks = format!(
        "<iframe src='http://localhost:{stranger}/frame'></iframe>\
         <script>fetch('http://127.0.0.1:{stranger}/fetch', {{ mode: 'no-cors' }})</script>"
    );
    let own = serve_document(asks);
    browser.open(&format!("http://127.0.0.1:{own}/"));
    let mut seen = Vec::new();
    let both = || {
        seen.extend(browser.requests());
        ["/frame", "/fetch"].iter().all(|path| seen.iter().any(|url| url.ends_with(path))).then_some(())
    };
    let both = eventually(TIMEOUT, both);
    assert!(both.is_some(), "{seen:?}");
    let others: Vec<&String> = seen.iter().filter(|url| !url.starts_with("http://")).collect();
    assert!(others.is_empty(), "{others:?}");
}
