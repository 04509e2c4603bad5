//! What visitors and their browsers do: select, compose, choose again before the answer, block cookies.

use serde_json::{Value, json};
use tests::browser::Browser;
use tests::containers::{Containers, Plan};
use tests::page::wait_for_row;
use tests::{eventually, free_port, is_root, skip};

use super::{TIMEOUT, serve};

/// Opens the page of a container of this name.
pub(super) fn open(browser: &Browser, port: u16, name: &str) {
    assert!(eventually(TIMEOUT, || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).is_some());
    browser.open(&format!("http://127.0.0.1:{port}/"));
    wait_for_row(browser, name);
    browser.eval(&format!("location.hash = '#/container/{name}'"));
    browser.wait("the page of the container does not open", "document.querySelectorAll('dl.identity dd').length > 3");
}

/// Waits until the page has shown two more reports.
pub(super) fn two_ticks(browser: &Browser) {
    let last = "[...document.querySelectorAll('dl.identity dt')].find((key) => key.textContent === 'Last report').nextSibling.textContent";
    for _ in 0..2 {
        let shown = browser.eval(last);
        browser.wait("no further report", &format!("{last} !== {shown}"));
    }
}

#[test]
fn what_is_selected_stays_selected_and_a_late_answer_changes_nothing() {
    let browser = browser!();
    let throttled = Plan { name: "page-visited", prepare: |group| group.limit_cpu(100), load: &["burn", "600000"] };
    let _world = world!("visitor", throttled);
    let port = free_port();
    let _agent = serve(port, &["--containers", "page-visited"]);
    open(&browser, port, "page-visited");
    for list in ["events", "log"] {
        browser.wait("nothing is told", &format!("document.querySelectorAll('#{list} li:not(.none)').length > 0"));
    }

    for part in ["h1", "dl.identity dd", "#events li", "#log li"] {
        let selected = browser.eval(&format!(
            "(() => {{ getSelection().selectAllChildren(document.querySelector('{part}')); return getSelection().toString() }})()"
        ));
        assert_ne!(selected, json!(""), "{part}");
        two_ticks(&browser);
        assert_eq!(browser.eval("getSelection().toString()"), selected, "{part}");
    }

    // The answer about 15 minutes is of 1970, and comes after that about a day.
    browser.eval(
        "(() => { const send = fetch; window.late = 0; window.fetch = async (url, options) => { \
         if (!url.includes('since=15m')) return send(url, options); \
         await new Promise((resolve) => { window.answer = resolve }); window.late += 1; \
         return new Response(JSON.stringify({ times: [1000], series: {} })) } })()",
    );
    let choose = |range: &str| {
        let button = format!(
            "[...document.querySelectorAll('.segments button')].find((button) => button.textContent === '{range}')"
        );
        browser.eval(&format!("{button}.click()"));
        browser.wait("it is not chosen", &format!("{button}.getAttribute('aria-pressed') === 'true'"));
    };
    choose("15 min");
    choose("24 h");
    two_ticks(&browser);
    let before = browser.text(".pointed");
    browser.eval("window.answer()");
    browser.wait("the answer does not come", "window.late === 1");
    two_ticks(&browser);
    assert_eq!(browser.text(".pointed"), before);
}

#[test]
fn enter_belongs_to_the_input_method_and_blocked_cookies_cost_nothing() {
    let browser = browser!();
    let _world = world!("composing", Plan { name: "page-composed", prepare: |_| (), load: &["idle"] });
    let port = free_port();
    let _agent = serve(port, &["--containers", "page-composed"]);
    // As a browser that blocks cookies answers.
    let refuses = "for (const name of ['localStorage', 'sessionStorage']) \
                   Object.defineProperty(window, name, { get() { throw new DOMException('blocked', 'SecurityError') } })";
    browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": refuses }));
    assert!(eventually(TIMEOUT, || std::net::TcpStream::connect(("127.0.0.1", port)).ok()).is_some());
    browser.open(&format!("http://127.0.0.1:{port}/"));
    wait_for_row(&browser, "page-composed");
    let blocked = "(() => { try { return localStorage.length } catch (error) { return error.name } })()";
    assert_eq!(browser.eval(blocked), "SecurityError");
    let theme = "document.documentElement.dataset.theme ?? ''";
    let before = browser.eval(theme);
    browser.press('t');
    assert_ne!(browser.eval(theme), before, "the theme changes all the same");

    browser.press('/');
    browser.devtools("Input.imeSetComposition", &json!({ "text": "p", "selectionStart": 1, "selectionEnd": 1 }));
    for kind in ["rawKeyDown", "keyUp"] {
        let enter = json!({ "type": kind, "key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13 });
        browser.devtools("Input.dispatchKeyEvent", &enter);
    }
    assert_eq!(browser.eval("document.activeElement.type"), "search", "Enter took the input method's word");
    assert_ne!(browser.eval("location.hash"), Value::from("#/container/page-composed"));
}
