//! The web page of an agent that watches real Docker containers under load.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::net::TcpListener;
use std::time::Duration;

use serde_json::json;
use tests::agent::{self, Agent};
use tests::browser::Browser;
use tests::docker::{self, BUSYBOX};
use tests::page::{api, assert_quiet, assert_row_is_the_report, cell, faint, row, wait_for_row};
use tests::{eventually, free_port, skip};

const TIMEOUT: Duration = Duration::from_secs(30);
const SPINS: &str = "while :; do :; done";
/// Needs more memory than its limit, and is killed again and again.
const HUNGRY: &str = "while :; do dd if=/dev/zero of=/dev/null bs=200M count=1 2>/dev/null; sleep 1; done";
/// A label that is harmful as markup.
const LABEL: &str = "<script>document.title='owned'</script>";

#[test]
fn docker_containers_under_load_look_as_the_api_says() {
    let docker = match docker::daemon() {
        Ok(docker) => docker,
        Err(reason) => skip!("{reason}"),
    };
    let browser = match Browser::start() {
        Ok(browser) => browser,
        Err(reason) => skip!("{reason}"),
    };
    let label = format!("note={LABEL}");
    let shell = |options: &[&str], command: &str| docker.run(options, BUSYBOX, &["sh", "-c", command]);
    let spins = shell(&["--name", "look-spins", "--cpus", "0.25", "--memory", "64m", "--label", &label], SPINS);
    let _hungry = shell(&["--name", "look-hungry", "--memory", "32m", "--memory-swap", "32m"], HUNGRY);
    let (gateway, sink) = (&docker.gateway, sink(&docker.gateway));
    let talk = format!("while :; do dd if=/dev/zero bs=64k count=4 2>/dev/null | nc {gateway} {sink}; sleep 0.2; done");
    let _talks = shell(&["--name", "look-talks", "--cpus", "0.5"], &talk);
    let stays = shell(&["--name", "look-stays"], "sleep 10000");

    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let socket = docker.socket();
    let arguments = ["--scope", "host", "--interval", "1s", "--containers", "look-*", "--runtime-sockets", &socket];
    let _agent =
        Agent::spawn(agent::command(&[&arguments[..], &["--listen", &listen]].concat(), &[("VALKEY_URL", "none")]));
    assert!(eventually(TIMEOUT, || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).is_some());
    browser.prefer("light");
    browser.open(&format!("http://{listen}/"));
    for name in ["look-spins", "look-hungry", "look-talks", "look-stays"] {
        wait_for_row(&browser, name);
    }

    // The findings stand in the sentence on top and at the rows.
    browser.wait(
        "nobody says who was killed",
        "/^look-hungry is in trouble: OOM kill/.test(document.querySelector('h1').innerText)",
    );
    let why = |name: &str, words: &str| {
        browser.wait(words, &format!("{}.querySelector('.why').textContent.includes({})", row(name), json!(words)));
    };
    why("look-spins", "throttled");
    why("look-hungry", "OOM kill");
    browser.wait("nobody talks", &format!("/[KM]iB.s/.test({}.querySelector('.tx').innerText)", row("look-talks")));
    for name in ["look-spins", "look-hungry", "look-talks", "look-stays"] {
        assert_row_is_the_report(&browser, name);
    }
    assert_eq!(faint(&browser), json!([]));

    // The details come from Docker, and are as harmless as any text.
    browser.eval(&format!("{}.querySelector('a').click()", row("look-spins")));
    browser.wait(
        "there are no charts",
        "document.querySelectorAll('.chart:not(:has(.canvas[hidden])) canvas').length > 6",
    );
    let about = browser.text("#about");
    for word in ["docker", &spins.id, BUSYBOX, "label note", LABEL] {
        assert!(about.contains(word), "{word} is missing in {about}");
    }
    assert!(browser.eval("document.title").as_str().unwrap().starts_with("look-spins"));
    let report = api(&browser, "containers/look-spins");
    assert_eq!((&report["cpu"]["limit_cores"], &report["memory"]["limit_bytes"]), (&json!(0.25), &json!(64 << 20)));
    browser.wait(
        "the limit is not named",
        "document.querySelector('[data-chart=\"CPU cores\"]').textContent.includes('limit 0.25')",
    );

    // Events are shown as they happen: frozen, and exited.
    browser.eval("location.hash = '#/'");
    spins.ask(&["pause"]).unwrap();
    why("look-spins", "frozen");
    assert_eq!(cell(&browser, "look-spins", "status"), "paused");
    spins.ask(&["unpause"]).unwrap();
    stays.ask(&["kill"]).unwrap();
    why("look-stays", "ended");
    assert_eq!(cell(&browser, "look-stays", "status"), "exited");
    browser.eval("location.hash = '#/container/look-hungry'");
    browser.wait(
        "the kill is no event",
        "document.querySelector('#events').textContent.includes('out of memory: the kernel killed')",
    );
    assert_quiet(&browser, port);
}

/// A port at an address that accepts any data; it ends with the test.
fn sink(address: &str) -> u16 {
    let listener = TcpListener::bind((address, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            _ = std::io::copy(&mut stream, &mut std::io::sink());
        }
    });
    port
}
