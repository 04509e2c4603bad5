//! A real Chromium without a window, driven by WebDriver (<https://www.w3.org/TR/webdriver2/>) through chromedriver.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{eventually, free_port, has};

const TIMEOUT: Duration = Duration::from_secs(30);
/// A driver that does not end its browser within this time is not waited for any longer.
const LAST_TIMEOUT: Duration = Duration::from_secs(10);
/// Flags for a container or a machine without a screen; the browser makes no requests of its own.
const FLAGS: [&str; 10] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// A browser with one page.
pub struct Browser {
    driver: Child,
    port: u16,
    session: String,
    profile: TempDir,
    /// Loaders of the documents that the browser opened by itself, before the first page of a test.
    own_loaders: BTreeSet<String>,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Errors
    /// The program that is not installed.
    pub fn start() -> Result<Self, String> {
        if let Some(program) = ["chromedriver", "chromium"].into_iter().find(|program| !has(program)) {
            return Err(format!("{program} is not installed"));
        }
        // A port that is free for IPv4 may be taken for IPv6, or taken meanwhile.
        let (driver, port) = (0..5).find_map(|_| start_driver()).expect("chromedriver does not start");
        let profile = tempfile::tempdir().unwrap();
        let mut browser = Self { driver, port, session: String::new(), profile, own_loaders: BTreeSet::new() };
        let profile = format!("--user-data-dir={}", browser.profile.path().display());
        let arguments: Vec<&str> = FLAGS.into_iter().chain([profile.as_str()]).collect();
        let capabilities = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        } } });
        let session = browser.ask("POST", "/session", &capabilities);
        session["sessionId"].as_str().unwrap().clone_into(&mut browser.session);
        browser.leave_start_page();
        browser.size(1440, 900);
        Ok(browser)
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let answer = self
            .exchange(method, path, body, TIMEOUT * 4)
            .unwrap_or_else(|error| panic!("chromedriver, {path}: {error}"));
        let value = &answer["value"];
        assert!(value["error"].is_null(), "{path} {body}: {}: {}", value["error"], value["message"]);
        value.clone()
    }

    fn exchange(&self, method: &str, path: &str, body: &Value, timeout: Duration) -> std::io::Result<Value> {
        exchange(self.port, method, path, body, timeout)
    }

    fn command(&self, name: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}/{name}", self.session), body)
    }

    /// A command of the browser's own protocol (<https://chromedevtools.github.io/devtools-protocol/>).
    pub fn devtools(&self, method: &str, parameters: &Value) -> Value {
        self.command("goog/cdp/execute", &json!({ "cmd": method, "params": parameters }))
    }

    /// Leaves the start page of this version of the browser: its requests and complaints belong to no test.
    fn leave_start_page(&mut self) {
        self.open("about:blank");
        let loaders = self.events().into_iter().filter_map(|event| loader(&event));
        self.own_loaders = loaders.collect();
        drop(self.complaints());
    }

    /// Goes to an address.
    pub fn open(&self, url: &str) {
        self.command("url", &json!({ "url": url }));
    }

    /// Opens a tab in front of the others and goes on there; returns its handle.
    pub fn open_tab(&self) -> String {
        let tab = self.command("window/new", &json!({ "type": "tab" }))["handle"].as_str().unwrap().to_owned();
        self.show_tab(&tab);
        tab
    }

    /// Goes on in a tab, and brings it to the front.
    pub fn show_tab(&self, tab: &str) {
        self.command("window", &json!({ "handle": tab }));
        self.devtools("Page.bringToFront", &json!({}));
    }

    /// Closes a tab. Another one has to be shown next.
    pub fn close_tab(&self, tab: &str) {
        self.command("window", &json!({ "handle": tab }));
        self.ask("DELETE", &format!("/session/{}/window", self.session), &Value::Null);
    }

    /// Evaluates an expression in the page; awaits promises.
    pub fn eval(&self, expression: &str) -> Value {
        self.command("execute/sync", &json!({ "script": format!("return ({expression});"), "args": [] }))
    }

    /// Waits until an expression is true; `what` describes it.
    pub fn wait(&self, what: &str, expression: &str) {
        let is_true = || (self.eval(expression) == true).then_some(());
        assert!(eventually(TIMEOUT, is_true).is_some(), "{what}; the page shows:\n{}", self.text("body"));
    }

    /// The text of the first element that fits a selector, as a person sees it.
    pub fn text(&self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({})?.innerText", json!(selector)));
        text.as_str().unwrap_or_default().to_owned()
    }

    fn element(&self, selector: &str) -> String {
        let found = self.command("element", &json!({ "using": "css selector", "value": selector }));
        let element = found.as_object().and_then(|found| found.values().next()).and_then(Value::as_str);
        element.unwrap_or_else(|| panic!("{selector}: {found}")).to_owned()
    }

    /// Clicks as a mouse does: a covered element cannot be clicked.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command(&format!("element/{element}/click"), &json!({}));
    }

    /// Types into an element.
    pub fn write(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    /// Presses a key, wherever the focus is; keys without a character are in WebDriver's table.
    pub fn press(&self, key: char) {
        let actions = json!([{ "type": "keyDown", "value": key }, { "type": "keyUp", "value": key }]);
        self.command("actions", &json!({ "actions": [{ "type": "key", "id": "keyboard", "actions": actions }] }));
    }

    /// Drags the mouse over an element, from one to the other fraction of its width.
    pub fn drag(&self, selector: &str, from: f64, to: f64) {
        let at = |fraction| self.movement(selector, fraction);
        let (down, up) = (json!({ "type": "pointerDown", "button": 0 }), json!({ "type": "pointerUp", "button": 0 }));
        self.mouse(&json!([at(from), down, at(f64::midpoint(from, to)), at(to), up]));
    }

    /// Points at an element, at a fraction of its width.
    pub fn point(&self, selector: &str, fraction: f64) {
        self.mouse(&json!([self.movement(selector, fraction)]));
    }

    /// The movement of the mouse to an element.
    fn movement(&self, selector: &str, fraction: f64) -> Value {
        let center = format!(
            "(() => {{ const r = document.querySelector({}).getBoundingClientRect(); return [Math.round(r.x + r.width * {fraction}), Math.round(r.y + r.height / 2)]; }})()",
            json!(selector)
        );
        let place = self.eval(&center);
        json!({ "type": "pointerMove", "duration": 100, "x": place[0], "y": place[1] })
    }

    fn mouse(&self, actions: &Value) {
        self.command(
            "actions",
            &json!({ "actions": [{ "type": "pointer", "id": "mouse", "parameters": { "pointerType": "mouse" }, "actions": actions }] }),
        );
    }

    /// Sets the size of the page, in its own pixels.
    pub fn size(&self, width: u32, height: u32) {
        self.scale(width, height, 1.0);
    }

    /// The same on a screen with `factor` pixels for each of the page's.
    pub fn scale(&self, width: u32, height: u32, factor: f64) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": factor, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Sets the system's preference of colours, `light` or `dark`, and reduced motion.
    pub fn prefer(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }, { "name": "prefers-reduced-motion", "value": "reduce" }]);
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    /// Writes a screenshot into a PNG file.
    pub fn picture(&self, file: &Path) {
        let encoded = self.devtools("Page.captureScreenshot", &json!({ "format": "png" }));
        std::fs::write(file, base64(encoded["data"].as_str().unwrap())).unwrap();
    }

    /// Costs of the page since it was opened, by name: CPU time of the main thread in seconds.
    pub fn costs(&self) -> BTreeMap<String, f64> {
        self.devtools("Performance.enable", &json!({ "timeDomain": "threadTicks" }));
        let metrics = self.devtools("Performance.getMetrics", &json!({}));
        let metrics = metrics["metrics"].as_array().unwrap().clone();
        metrics.iter().filter_map(|row| Some((row["name"].as_str()?.to_owned(), row["value"].as_f64()?))).collect()
    }

    /// Its driver.
    pub fn driver(&self) -> i32 {
        i32::try_from(self.driver.id()).unwrap()
    }

    /// The processes of the browser: those with its profile in their arguments.
    pub fn processes(&self) -> Vec<i32> {
        processes_with(self.profile.path())
    }

    fn log(&self, kind: &str) -> Vec<Value> {
        self.command("se/log", &json!({ "type": kind })).as_array().cloned().unwrap_or_default()
    }

    /// Errors and refused content in the page's console since the last call.
    pub fn complaints(&self) -> Vec<String> {
        self.log("browser").iter().map(|entry| format!("{}: {}", entry["level"], entry["message"])).collect()
    }

    /// Events of the browser's own protocol since the last call.
    fn events(&self) -> Vec<Value> {
        let log = self.log("performance");
        let text = |entry: &Value| serde_json::from_str::<Value>(entry["message"].as_str()?).ok();
        log.iter().filter_map(text).map(|mut entry| entry["message"].take()).collect()
    }

    /// The addresses that the pages of the test have requested since the last call, from every frame and every worker.
    pub fn requests(&self) -> Vec<String> {
        self.events()
            .iter()
            .filter(|event| event["method"] == "Network.requestWillBeSent")
            .filter(|event| loader(event).is_none_or(|loader| !self.own_loaders.contains(&loader)))
            .filter_map(|event| Some(event["params"]["request"]["url"].as_str()?.to_owned()))
            .collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser, if its driver still responds.
        _ = self.exchange("DELETE", &format!("/session/{}", self.session), &Value::Null, LAST_TIMEOUT);
        _ = self.driver.kill();
        _ = self.driver.wait();
        for pid in self.processes() {
            // SAFETY: takes two numbers. Nobody else has this profile, so the process is this browser's.
            _ = unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}

/// Asks the driver on a port.
fn exchange(port: u16, method: &str, path: &str, body: &Value, timeout: Duration) -> std::io::Result<Value> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(timeout))?;
    let body = if method == "POST" { body.to_string() } else { String::new() };
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {}\r\n\r\n{body}", body.len())?;
    // The driver keeps the connection open, even if it is asked to close it.
    let mut answer = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        answer.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().unwrap_or_default();
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    answer.read_exact(&mut body)?;
    Ok(serde_json::from_slice(&body)?)
}

/// The loader of the document of an event. Workers have none.
fn loader(event: &Value) -> Option<String> {
    event["params"]["loaderId"].as_str().filter(|loader| !loader.is_empty()).map(str::to_owned)
}

/// A driver, and the port that it listens on; `None` when it ends at once.
fn start_driver() -> Option<(Child, u16)> {
    let port = free_port();
    let mut driver = Command::new("chromedriver")
        .arg(format!("--port={port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ready = eventually(TIMEOUT, || {
        let has_ended = driver.try_wait().unwrap().is_some();
        let answer = || exchange(port, "GET", "/status", &Value::Null, LAST_TIMEOUT).ok();
        if has_ended { Some(false) } else { answer().filter(|it| it["value"]["ready"] == true).map(|_| true) }
    });
    if ready == Some(true) {
        return Some((driver, port));
    }
    _ = driver.kill();
    _ = driver.wait();
    None
}

/// The processes with a path in their arguments.
pub fn processes_with(path: &Path) -> Vec<i32> {
    let path = path.to_str().unwrap().as_bytes();
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has_it = |pid: &i32| {
        let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        arguments.windows(path.len()).any(|part| part == path)
    };
    pids.filter(has_it).collect()
}

/// Decodes the encoding of pictures in the protocol (RFC 4648, section 4).
fn base64(text: &str) -> Vec<u8> {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for digit in text.bytes().filter_map(|byte| DIGITS.iter().position(|digit| *digit == byte)) {
        bits = bits << 6 | u32::try_from(digit).unwrap();
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xff).unwrap());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    #[test]
    fn base64_is_read_as_the_rfc_has_it() {
        let pairs =
            [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob"), ("Zm9vYmFy", "foobar")];
        for (text, bytes) in pairs {
            assert_eq!(super::base64(text), bytes.as_bytes());
        }
    }
}
