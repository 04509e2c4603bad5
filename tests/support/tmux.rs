//! A terminal for interactive tests: a window of tmux, with a server of the test's own.

use std::process::Command;
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::eventually;

/// Time within which a screen must show something.
const TIMEOUT: Duration = Duration::from_secs(20);

/// A window with a shell in it.
pub struct Window {
    server: String,
    /// File that records everything written to the terminal.
    record: NamedTempFile,
}

impl Window {
    /// Opens a window of this size, with these variables in the shell's environment. `None` if tmux is not installed.
    pub fn open(columns: u16, rows: u16, environment: &[(&str, &str)]) -> Option<Self> {
        if !crate::has("tmux") {
            return None;
        }
        let server = format!("system-monitor-{}-{}", std::process::id(), crate::free_port());
        let window = Self { server, record: NamedTempFile::new().unwrap() };
        let size = [columns.to_string(), rows.to_string()];
        let mut command = window.command(&["-f", "/dev/null", "new-session", "-d", "-x", &size[0], "-y", &size[1]]);
        // The prompt is a mark that no program prints.
        command.args(["env", "-i", "TERM=screen", "LC_ALL=C.UTF-8", "PS1=ready> "]);
        command.arg(format!("PATH={}", std::env::var("PATH").unwrap_or_default()));
        command.args(environment.iter().map(|(name, value)| format!("{name}={value}")));
        assert!(command.args(["bash", "--norc", "--noprofile"]).status().unwrap().success());
        assert!(window.shows("ready>"), "no shell: {}", window.screen());
        Some(window)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("tmux");
        command.args(["-u", "-L", &self.server]).args(arguments).env_remove("TMUX").env("LC_ALL", "C.UTF-8");
        command
    }

    fn said(&self, arguments: &[&str]) -> String {
        String::from_utf8_lossy(&self.command(arguments).output().unwrap().stdout).into_owned()
    }

    /// Types text as it stands.
    pub fn types(&self, text: &str) {
        self.said(&["send-keys", "-l", text]);
    }

    /// Presses keys by tmux' names: `Enter`, `Escape`, `C-c`, `Down`.
    pub fn press(&self, keys: &[&str]) {
        self.said(&[&["send-keys"], keys].concat());
    }

    /// Types a line.
    pub fn line(&self, text: &str) {
        self.types(text);
        self.press(&["Enter"]);
    }

    /// Text of the screen.
    pub fn screen(&self) -> String {
        self.said(&["capture-pane", "-p"])
    }

    /// The same, with colours and weights as escape sequences.
    pub fn styled(&self) -> String {
        self.said(&["capture-pane", "-p", "-e"])
    }

    /// Records from now on everything that is written to the terminal.
    pub fn records(&self) {
        self.said(&["pipe-pane", &format!("cat > {}", self.record.path().display())]);
    }

    /// Everything written to the terminal so far.
    pub fn recorded(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.record.path()).unwrap()).into_owned()
    }

    /// Waits until the screen shows these words.
    pub fn shows(&self, words: &str) -> bool {
        self.until(|screen| screen.contains(words))
    }

    /// Waits until `is_right` accepts the screen.
    pub fn until(&self, is_right: impl Fn(&str) -> bool) -> bool {
        let look = || {
            std::thread::sleep(Duration::from_millis(50));
            is_right(&self.screen()).then_some(())
        };
        eventually(TIMEOUT, look).is_some()
    }

    /// Changes its size.
    pub fn resize(&self, columns: u16, rows: u16) {
        self.said(&["resize-window", "-x", &columns.to_string(), "-y", &rows.to_string()]);
    }

    /// Modes of the terminal: alternate screen, visible cursor, mouse taken by a program.
    pub fn modes(&self) -> String {
        self.said(&["display-message", "-p", "screen #{alternate_on} cursor #{cursor_flag} mouse #{mouse_any_flag}"])
            .trim()
            .to_owned()
    }

    /// The process that the shell has started.
    pub fn child(&self) -> i32 {
        let shell = self.said(&["display-message", "-p", "#{pane_pid}"]).trim().to_owned();
        let parent = |pid: &str| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            Some(status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().to_owned())
        };
        let child = || {
            let all =
                std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            all.filter(|pid| pid.parse::<i32>().is_ok()).find(|pid| parent(pid).as_ref() == Some(&shell))
        };
        eventually(TIMEOUT, child).expect("the shell has no child").parse().unwrap()
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        self.said(&["kill-server"]);
    }
}
