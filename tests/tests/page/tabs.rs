//! Many tabs of one browser, which opens six connections to a host at most.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tests::browser::Browser;
use tests::containers::{Containers, Plan};
use tests::page::{api, assert_quiet, wait_for_row};
use tests::{eventually, free_port, is_root, skip};

use super::visitor::{open, two_ticks};
use super::{TIMEOUT, serve};

const LIVE: &str = "document.getElementById('connection').textContent === 'live'";

/// Hands connections on to an agent, for as long as the tests run, and counts those that carry an event stream.
struct Proxy {
    port: u16,
    streams: Arc<AtomicUsize>,
}

impl Proxy {
    fn start(agent: u16) -> Self {
        assert!(eventually(TIMEOUT, || TcpStream::connect(("127.0.0.1", agent)).ok()).is_some());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), streams: Arc::default() };
        let streams = Arc::clone(&proxy.streams);
        std::thread::spawn(move || {
            for browser in listener.incoming().flatten() {
                let streams = Arc::clone(&streams);
                std::thread::spawn(move || hand_on(browser, agent, &streams));
            }
        });
        proxy
    }

    fn has_streams(&self, count: usize) {
        let same = || (self.streams.load(Ordering::Relaxed) == count).then_some(());
        assert!(eventually(TIMEOUT, same).is_some(), "{} streams, not {count}", self.streams.load(Ordering::Relaxed));
    }
}

/// Hands a connection on until the browser or the agent ends it.
fn hand_on(mut browser: TcpStream, agent: u16, streams: &AtomicUsize) {
    let Ok(mut agent) = TcpStream::connect(("127.0.0.1", agent)) else { return };
    let (mut answers, mut answered) = (agent.try_clone().unwrap(), browser.try_clone().unwrap());
    std::thread::spawn(move || {
        _ = std::io::copy(&mut answers, &mut answered);
        _ = answered.shutdown(Shutdown::Both);
    });
    let mut part = [0; 16 << 10];
    let mut is_stream = false;
    while let Ok(length @ 1..) = browser.read(&mut part) {
        if part[..length].starts_with(b"GET /api/v1/stream ") {
            is_stream = true;
            streams.fetch_add(1, Ordering::Relaxed);
        }
        if agent.write_all(&part[..length]).is_err() {
            break;
        }
    }
    streams.fetch_sub(usize::from(is_stream), Ordering::Relaxed);
    _ = agent.shutdown(Shutdown::Both);
}

/// Opens eight tabs with the page, each after a script has run in it; returns their handles.
fn open_tabs(browser: &Browser, proxy: &Proxy, container: &str, script: &str) -> Vec<String> {
    let open_tab = |_| {
        let tab = browser.open_tab();
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
        open(browser, proxy.port, container);
        tab
    };
    (0..8).map(open_tab).collect()
}

#[test]
fn all_tabs_of_a_browser_are_live_over_one_stream() {
    let browser = browser!();
    let _world = world!("tabs", Plan { name: "page-tabs", prepare: |_| (), load: &["idle"] });
    let port = free_port();
    let _agent = serve(port, &["--containers", "page-tabs"]);
    let proxy = Proxy::start(port);
    let tabs = open_tabs(&browser, &proxy, "page-tabs", "");
    for tab in &tabs {
        browser.show_tab(tab);
        browser.wait("a tab is not live", LIVE);
        two_ticks(&browser);
        browser.eval("location.hash = '#/agent'");
        browser.wait(
            "the page of the agent does not open",
            "document.querySelectorAll('main.agent section').length === 3",
        );
        assert_eq!(api(&browser, "containers/page-tabs")["container_name"], "page-tabs");
        browser.eval("location.hash = '#/'");
        wait_for_row(&browser, "page-tabs");
    }
    proxy.has_streams(1);
    assert_quiet(&browser, proxy.port);

    for tab in &tabs[1..] {
        browser.close_tab(tab);
    }
    browser.show_tab(&tabs[0]);
    browser.open(&format!("http://127.0.0.1:{}/?again", proxy.port));
    browser.wait("a tab that is loaded again is not live", LIVE);
    proxy.has_streams(1);
    browser.open("about:blank");
    proxy.has_streams(0);
}

#[test]
fn without_shared_workers_a_tab_reads_the_stream_itself_while_it_is_shown() {
    let browser = browser!();
    let _world = world!("alone", Plan { name: "page-alone", prepare: |_| (), load: &["idle"] });
    let port = free_port();
    let _agent = serve(port, &["--containers", "page-alone"]);
    let proxy = Proxy::start(port);
    let tabs = open_tabs(&browser, &proxy, "page-alone", "delete globalThis.SharedWorker");
    assert_eq!(browser.eval("typeof SharedWorker"), "undefined");
    for tab in &tabs {
        browser.show_tab(tab);
        browser.wait("a tab is not live", LIVE);
        two_ticks(&browser);
        // What was missed while the tab was hidden comes from the history.
        let whole = "!document.querySelector('#events').textContent.includes('no reports')";
        browser.wait("the time while the tab was hidden is a gap", whole);
        proxy.has_streams(1);
    }
    browser.open_tab();
    proxy.has_streams(0);
}
