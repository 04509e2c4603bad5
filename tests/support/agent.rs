//! The agent as a process, started from a clean environment.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{binary, eventually};

/// A running agent, and its output on stderr.
pub struct Agent {
    child: Child,
    said: Arc<Mutex<String>>,
    reader: Option<JoinHandle<()>>,
}

/// The end of an agent.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub took: Duration,
    pub said: String,
}

/// A command for the binary with nothing of this process' environment but the path. It pins nothing and takes no lock,
/// because tests run in parallel.
pub fn command(arguments: &[&str], environment: &[(&str, &str)]) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("MONITOR_PIN", "off")
        .envs(environment.iter().copied());
    command
}

impl Agent {
    /// Starts the agent for Valkey on a port of this machine.
    pub fn start(port: u16, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = command(arguments, &[("VALKEY_HOST", "127.0.0.1"), ("VALKEY_PORT", &port.to_string())]);
        command.envs(environment.iter().copied());
        Self::spawn(command)
    }

    /// Starts `command` with stderr captured.
    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let said = Arc::<Mutex<String>>::default();
        let into = Arc::clone(&said);
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in stderr.split(b'\n').map_while(Result::ok) {
                let mut said = into.lock().unwrap();
                said.push_str(&String::from_utf8_lossy(&line));
                said.push('\n');
            }
        });
        Self { child, said, reader: Some(reader) }
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    /// Its log so far.
    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Waits until its log contains `words`.
    pub fn says(&self, words: &str, timeout: Duration) -> bool {
        eventually(timeout, || self.said().contains(words).then_some(())).is_some()
    }

    /// True while it runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits until each of its threads sleeps (`proc(5)`): on a busy machine it has then been scheduled, and has done
    /// its work.
    pub fn settles(&self, timeout: Duration) -> bool {
        let tasks = format!("/proc/{}/task", self.pid());
        let sleeps = |entry: std::fs::DirEntry| {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            stat.rsplit_once(") ").is_none_or(|(_, fields)| fields.starts_with('S'))
        };
        let settled = || std::fs::read_dir(&tasks).unwrap().flatten().all(sleeps).then_some(());
        eventually(timeout, settled).is_some()
    }

    pub fn signal(&self, signal: i32) {
        // SAFETY: the child is ours and has not been waited for.
        assert_eq!(unsafe { libc::kill(self.pid(), signal) }, 0);
    }

    /// Resident memory in bytes, from `/proc/PID/statm`.
    pub fn resident(&self) -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{}/statm", self.pid())).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    }

    /// Sends a signal and waits until the process has ended.
    pub fn end(mut self, signal: i32) -> Ended {
        let before = Instant::now();
        self.signal(signal);
        let status =
            eventually(Duration::from_secs(20), || self.child.try_wait().unwrap()).expect("the agent does not end");
        let took = before.elapsed();
        self.reader.take().unwrap().join().unwrap();
        Ended { status, took, said: self.said() }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}
