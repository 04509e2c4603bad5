//! Queries and checks of the web page.

use std::time::Duration;

use serde_json::{Value, json};

use crate::browser::Browser;
use crate::eventually;

const TIMEOUT: Duration = Duration::from_secs(30);
/// The cells of the overview that show a number unchanged, with its place in the report.
const CELLS: [(&str, &str); 12] = [
    ("cpu", "/cpu_percent"),
    ("cores", "/cpu/usage_cores"),
    ("throttled", "/cpu/throttled_percent"),
    ("memory", "/memory_percent"),
    ("working", "/memory/working_set_bytes"),
    ("rx", "/network/rx_bytes_per_second"),
    ("tx", "/network/tx_bytes_per_second"),
    ("read", "/io/read_bytes_per_second"),
    ("write", "/io/write_bytes_per_second"),
    ("processes", "/process_count"),
    ("descriptors", "/file_descriptors"),
    ("oom", "/memory/oom_kills"),
];

/// The script for the row of a container.
pub fn row(name: &str) -> String {
    format!(
        "[...document.querySelectorAll('.containers tbody tr:not(.host, .spacer)')].find((row) => row.querySelector('a').textContent === {})",
        json!(name)
    )
}

/// Text of a cell in a container's row.
pub fn cell(browser: &Browser, name: &str, class: &str) -> String {
    let text = browser.eval(&format!("{}?.querySelector('.{class}')?.innerText", row(name)));
    text.as_str().unwrap_or_default().trim().to_owned()
}

pub fn wait_for_row(browser: &Browser, name: &str) {
    browser.wait(&format!("no row of {name:?}"), &format!("{} !== undefined", row(name)));
}

/// An answer of the API, fetched by the page itself.
pub fn api(browser: &Browser, path: &str) -> Value {
    browser.eval(&format!("fetch('/api/v1/{path}').then((answer) => answer.json())"))
}

/// A shown number in the unit of the API, and its largest rounding error.
pub fn shown(text: &str) -> Option<(f64, f64)> {
    let (digits, unit) = text.split_once(' ').unwrap_or((text, ""));
    let power = ["B", "KiB", "MiB", "GiB", "TiB"].iter().position(|known| unit.trim_end_matches("/s") == *known);
    let factor = 1024_f64.powi(i32::try_from(power.unwrap_or(0)).unwrap());
    let value: f64 = digits.replace(',', "").parse().ok()?;
    let decimals = digits.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    Some((value * factor, 0.5 * 0.1_f64.powi(i32::try_from(decimals).unwrap()) * factor * 1.001))
}

pub fn assert_quiet(browser: &Browser, port: u16) {
    assert_eq!(browser.complaints(), [""; 0]);
    let own = format!("http://127.0.0.1:{port}/");
    let strange: Vec<String> =
        browser.requests().into_iter().filter(|url| !url.starts_with(&own) && !url.starts_with("data:")).collect();
    assert_eq!(strange, [""; 0], "the page asked somebody else");
}

/// Pairs of text and background whose contrast is below WCAG 2.2 AA: 4.5 to 1, or 3 to 1 for large text.
const FAINT: &str = r"(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgba = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data].map((part) => part / 255); };
  const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
  const ground = (element) => element === null ? [1, 1, 1, 1] : (() => { const own = rgba(getComputedStyle(element).backgroundColor); return own[3] === 1 ? own : over(own, ground(element.parentElement)); })();
  const luminance = (color) => color.slice(0, 3).map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4).reduce((sum, part, at) => sum + part * [0.2126, 0.7152, 0.0722][at], 0);
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.textContent.trim() || !element.checkVisibility() || element.closest('.hidden, .skip, [aria-pressed=false].off')) continue;
    const style = getComputedStyle(element);
    const below = ground(element);
    const [a, b] = [luminance(over(rgba(style.color), below)), luminance(below)].sort((x, y) => y - x);
    const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && style.fontWeight >= 700);
    if ((a + 0.05) / (b + 0.05) < (isLarge ? 3 : 4.5)) faint.push(`${element.className} ${walker.currentNode.textContent.trim()}: ${((a + 0.05) / (b + 0.05)).toFixed(2)}`);
  }
  return faint;
})()";

/// Texts with too little contrast.
pub fn faint(browser: &Browser) -> Value {
    browser.eval(FAINT)
}

/// Controls without an accessible name.
pub fn nameless(browser: &Browser) -> Vec<String> {
    let tree = browser.devtools("Accessibility.getFullAXTree", &json!({}));
    let nodes = tree["nodes"].as_array().unwrap();
    let is_control = |node: &&Value| {
        ["button", "link", "textbox", "searchbox", "combobox", "checkbox", "image", "table"]
            .contains(&node["role"]["value"].as_str().unwrap_or_default())
    };
    let is_shown = |node: &&Value| node["ignored"] == false;
    let unnamed = |node: &&Value| node["name"]["value"].as_str().unwrap_or_default().trim().is_empty();
    nodes.iter().filter(is_shown).filter(is_control).filter(unnamed).map(ToString::to_string).collect()
}

/// Compares every number of a container's row with its report, in one tick.
pub fn assert_row_is_the_report(browser: &Browser, name: &str) {
    let mut last = String::new();
    let same = eventually(TIMEOUT, || {
        let report = api(browser, &format!("containers/{name}"));
        let different = CELLS.iter().find_map(|(class, field)| {
            let text = cell(browser, name, class);
            let fits = match report.pointer(field).unwrap().as_f64() {
                None => text == "–",
                Some(value) => shown(&text).is_some_and(|(number, rounding)| (number - value).abs() <= rounding),
            };
            (!fits).then(|| format!("{class} shows {text:?}, {field} is {}", report.pointer(field).unwrap()))
        });
        last = different.unwrap_or_default();
        last.is_empty().then_some(())
    });
    assert!(same.is_some(), "{name}: {last}");
}
