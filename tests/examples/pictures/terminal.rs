//! A program in a terminal of its own (tmux), and the terminal's screen as a page for the browser.

use std::fmt::Write;
use std::process::Command;

use tempfile::TempDir;

/// Size of a character, in pixels of the page.
const CELL: (u32, u32) = (8, 17);
const MARGIN: u32 = 14;
/// The first sixteen colours, on a dark background.
const PALETTE: [&str; 16] = [
    "#2b333d", "#ff7b7f", "#58c98a", "#f0b354", "#6aa5ff", "#b594ff", "#43c7bd", "#c9d1d9", "#7d8894", "#ff9a9d",
    "#7fdca6", "#f6c97f", "#93bdff", "#cbb3ff", "#74d9d1", "#ffffff",
];
const INK: &str = "#dfe4ea";
const GROUND: &str = "#11161c";

/// Characters across and down.
#[derive(Clone, Copy)]
pub(crate) struct Size {
    pub(crate) columns: u32,
    pub(crate) lines: u32,
}

/// A terminal in which a program runs; it ends when dropped.
pub(crate) struct Terminal {
    dir: TempDir,
    size: Size,
}

/// The screen of a terminal.
pub(crate) struct Screen {
    pub(crate) page: String,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Terminal {
    pub(crate) fn start(program: &[&str], size: Size) -> Self {
        let terminal = Self { dir: tempfile::tempdir().unwrap(), size };
        let (columns, lines) = (size.columns.to_string(), size.lines.to_string());
        let session = ["-f", "/dev/null", "new-session", "-d", "-x", &columns, "-y", &lines, "--"];
        let environment = ["env", "MONITOR_PIN=off", "COLORTERM=truecolor", "LC_ALL=C.UTF-8"];
        terminal.tmux(&[&session[..], &environment, program].concat());
        terminal
    }

    fn tmux(&self, words: &[&str]) -> String {
        let mut command = Command::new("tmux");
        command.arg("-u").arg("-S").arg(self.dir.path().join("socket")).args(words);
        let output = command.output().unwrap();
        assert!(output.status.success(), "tmux {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn screen(&self) -> Screen {
        let text = self.tmux(&["capture-pane", "-e", "-p"]);
        let mut look = Look::default();
        let lines = text.trim_end().lines().map(|text| line(text, &mut look)).collect::<Vec<_>>().join("\n");
        let style = format!(
            "margin:0;padding:{MARGIN}px;background:{GROUND};color:{INK};font:13px/{}px 'DejaVu Sans Mono',monospace",
            CELL.1
        );
        let page = format!(
            "<!doctype html><meta charset=utf-8><body style=\"{style}\"><pre style=\"margin:0;font:inherit\">{lines}"
        );
        let (width, height) = (self.size.columns * CELL.0 + 2 * MARGIN, self.size.lines * CELL.1 + 2 * MARGIN);
        Screen { page, width, height }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.tmux(&["kill-server"]);
    }
}

/// Attributes of characters that "Select Graphic Rendition" sets (ECMA-48, 8.3.117).
#[derive(Default)]
struct Look {
    ink: Option<String>,
    ground: Option<String>,
    bold: bool,
    dim: bool,
    reversed: bool,
    underlined: bool,
}

impl Look {
    fn style(&self) -> String {
        let (mut ink, mut ground) = (self.ink.as_deref().unwrap_or(INK), self.ground.as_deref().unwrap_or(GROUND));
        if self.reversed {
            (ink, ground) = (ground, ink);
        }
        let mut style = format!("color:{ink};background:{ground}");
        for (is_set, rule) in [
            (self.bold, ";font-weight:bold"),
            (self.dim, ";opacity:.65"),
            (self.underlined, ";text-decoration:underline"),
        ] {
            style += if is_set { rule } else { "" };
        }
        style
    }

    fn set(&mut self, codes: &str) {
        let mut codes = codes.split([';', ':']).map(|code| code.parse().unwrap_or(0));
        while let Some(code) = codes.next() {
            match code {
                0 => *self = Self::default(),
                1 => self.bold = true,
                2 => self.dim = true,
                4 => self.underlined = true,
                7 => self.reversed = true,
                22 => (self.bold, self.dim) = (false, false),
                24 => self.underlined = false,
                27 => self.reversed = false,
                30..=37 => self.ink = indexed(code - 30),
                38 => self.ink = extended(&mut codes),
                39 => self.ink = None,
                40..=47 => self.ground = indexed(code - 40),
                48 => self.ground = extended(&mut codes),
                49 => self.ground = None,
                90..=97 => self.ink = indexed(code - 82),
                100..=107 => self.ground = indexed(code - 92),
                _ => {}
            }
        }
    }
}

/// A colour by its number: the palette, a cube of six steps, a ramp of greys.
fn indexed(number: u32) -> Option<String> {
    let step = |part: u32| if part == 0 { 0 } else { 55 + 40 * part };
    match number {
        0..=15 => Some(PALETTE[usize::try_from(number).ok()?].to_owned()),
        16..=231 => {
            let cube = number - 16;
            Some(format!("rgb({},{},{})", step(cube / 36), step(cube / 6 % 6), step(cube % 6)))
        }
        _ => Some(format!("rgb({0},{0},{0})", 8 + 10 * (number.min(255) - 232))),
    }
}

fn extended(codes: &mut impl Iterator<Item = u32>) -> Option<String> {
    match codes.next()? {
        5 => indexed(codes.next()?),
        2 => Some(format!("rgb({},{},{})", codes.next()?, codes.next()?, codes.next()?)),
        _ => None,
    }
}

/// A captured line as markup. It begins in the style in which the line before ended.
fn line(text: &str, look: &mut Look) -> String {
    let mut markup = String::new();
    let mut parts = text.split("\u{1b}[");
    let mut show = |text: &str, look: &Look| {
        let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
        if !escaped.is_empty() {
            // Writing to a text cannot fail.
            _ = write!(markup, "<span style=\"{}\">{escaped}</span>", look.style());
        }
    };
    show(parts.next().unwrap_or_default(), look);
    for part in parts {
        let (codes, text) = part.split_once('m').unwrap_or(("", part));
        look.set(codes);
        show(text, look);
    }
    markup
}
