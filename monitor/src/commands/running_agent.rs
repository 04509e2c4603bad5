//! The agent that runs in this container, and its own settings, from `/proc` (`proc_pid_cmdline(5)`,
//! `proc_pid_environ(5)`).

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use monitor::config::Config;
use monitor::containers::own;
use monitor::foreign;
use monitor::settings::{SettingName, Settings};

use crate::cli;

/// The most bytes of a command line, an environment or a settings file that are read.
const LONGEST: usize = 256 << 10;

/// An agent that runs.
pub(super) struct RunningAgent {
    /// Its process.
    pub(super) pid: u32,
    /// Its settings.
    pub(super) config: anyhow::Result<Config>,
}

type Environment = BTreeMap<OsString, OsString>;

/// Finds the agent of this container. An agent whose environment differs from ours in a setting belongs to somebody
/// else: in a container, a health check has the environment that its agent has.
pub(super) fn find(proc: &Path) -> Option<RunningAgent> {
    let own = std::process::id();
    let comm = foreign::read(&proc.join("self/comm"), LONGEST).ok()?;
    let ours = environment(&proc.join("self")).unwrap_or_default();
    let mut pids: Vec<u32> = names(proc).filter_map(|name| name.to_str()?.parse().ok()).collect();
    pids.sort_unstable();
    pids.into_iter().filter(|pid| *pid != own).find_map(|pid| agent(pid, &proc.join(pid.to_string()), &comm, &ours))
}

fn names(proc: &Path) -> impl Iterator<Item = OsString> {
    std::fs::read_dir(proc).into_iter().flatten().flatten().map(|entry| entry.file_name())
}

/// Returns the agent in a process, if it is one and of this container.
fn agent(pid: u32, dir: &Path, comm: &[u8], ours: &Environment) -> Option<RunningAgent> {
    if foreign::read(&dir.join("comm"), LONGEST).ok()? != comm || !is_alive_here(dir) {
        return None;
    }
    let arguments = words(&foreign::read(&dir.join("cmdline"), LONGEST).ok()?);
    let matches = cli::command().try_get_matches_from(arguments).ok()?;
    let (name, flags) = matches.subcommand().unwrap_or(("agent", &matches));
    let theirs = environment(dir);
    if name != "agent" || theirs.as_ref().is_some_and(|theirs| !is_same(ours, theirs)) {
        return None;
    }
    // Where its environment cannot be read, it is taken for ours.
    let variables = theirs.as_ref().unwrap_or(ours);
    let cwd = dir.join("cwd");
    let variable = |name: &str| variables.get(OsStr::new(name)).cloned();
    let settings = Settings::collect(flags, variable, |path| read(&cwd, path));
    let config = settings.and_then(|settings| Config::new(&settings, own::scope));
    Some(RunningAgent { pid, config: config.map_err(Into::into) })
}

/// True if a process runs, in no pid namespace below ours.
fn is_alive_here(dir: &Path) -> bool {
    let status = foreign::read(&dir.join("status"), LONGEST).unwrap_or_default();
    let status = String::from_utf8_lossy(&status);
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default().trim();
    let is_ended = field("State:").starts_with(['Z', 'X']);
    !is_ended && field("NSpid:").split_whitespace().count() <= 1
}

/// True if no setting of our environment has another value there.
fn is_same(ours: &Environment, theirs: &Environment) -> bool {
    let variables = SettingName::ALL.iter().map(|name| OsStr::new(name.setting().variable));
    variables.into_iter().all(|name| ours.get(name).is_none_or(|value| theirs.get(name) == Some(value)))
}

/// Reads a settings file of an agent, from the directory in which that runs.
fn read(cwd: &Path, path: &Path) -> std::io::Result<String> {
    let path: PathBuf = cwd.join(path);
    String::from_utf8(foreign::read(&path, LONGEST)?).map_err(std::io::Error::other)
}

fn environment(dir: &Path) -> Option<Environment> {
    let pair = |word: OsString| {
        let (name, value) = word.as_bytes().split_at(word.as_bytes().iter().position(|byte| *byte == b'=')?);
        Some((OsStr::from_bytes(name).to_owned(), OsStr::from_bytes(&value[1..]).to_owned()))
    };
    Some(words(&foreign::read(&dir.join("environ"), LONGEST).ok()?).into_iter().filter_map(pair).collect())
}

fn words(text: &[u8]) -> Vec<OsString> {
    let words = text.strip_suffix(b"\0").unwrap_or(text).split(|byte| *byte == 0);
    words.map(|word| OsString::from_vec(word.to_vec())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A process in a `/proc` made of files.
    fn process(proc: &Path, pid: u32, comm: &str, status: &str, cmdline: &str, environ: Option<&str>) {
        let dir = proc.join(pid.to_string());
        std::fs::create_dir_all(&dir).unwrap();
        let texts = [("comm", Some(comm)), ("status", Some(status)), ("cmdline", Some(cmdline)), ("environ", environ)];
        for (name, text) in texts {
            if let Some(text) = text {
                std::fs::write(dir.join(name), text).unwrap();
            }
        }
    }

    const ALIVE: &str = "State:\tS (sleeping)\nNSpid:\t7\n";

    /// The first agent that is found beside a health check with this environment.
    fn found(environ: &str, others: impl Fn(&Path)) -> Option<(u32, Option<u64>)> {
        let proc = tempfile::tempdir().unwrap();
        process(proc.path(), 99_999, "monitor\n", ALIVE, "monitor\0healthcheck\0", Some(environ));
        std::os::unix::fs::symlink("99999", proc.path().join("self")).unwrap();
        others(proc.path());
        let found = find(proc.path())?;
        Some((found.pid, found.config.ok().map(|config| config.interval.as_secs())))
    }

    #[test]
    fn the_agent_is_found_with_its_flags_and_its_environment() {
        let set = |proc: &Path| {
            process(proc, 7, "monitor\n", ALIVE, "/bin/monitor\0agent\0--interval=2s\0", Some("A=b\0"));
        };
        assert_eq!(found("A=c\0", set), Some((7, Some(2))));
        let set = |proc: &Path| process(proc, 7, "monitor\n", ALIVE, "monitor\0", Some("MONITOR_INTERVAL=3s\0"));
        assert_eq!(found("", set), Some((7, Some(3))));
        assert_eq!(found("MONITOR_INTERVAL=3s\0", set), Some((7, Some(3))));
        let unread = |proc: &Path| process(proc, 7, "monitor\n", ALIVE, "monitor\0", None);
        assert_eq!(found("MONITOR_INTERVAL=4s\0", unread), Some((7, Some(4))), "ours, as far as can be seen");
        let wrong = |proc: &Path| process(proc, 7, "monitor\n", ALIVE, "monitor\0--interval=x\0", Some(""));
        assert_eq!(found("", wrong), Some((7, None)));
    }

    #[test]
    fn what_is_no_agent_of_this_container_is_left_alone() {
        let none = |comm: &str, status: &str, cmdline: &str, environ: &str| {
            found("MONITOR_INTERVAL=5s\0", |proc| process(proc, 7, comm, status, cmdline, Some(environ))).is_none()
        };
        let same = "MONITOR_INTERVAL=5s\0";
        assert!(!none("monitor\n", ALIVE, "monitor\0", same));
        assert!(none("other\n", ALIVE, "monitor\0", same));
        assert!(none("monitor\n", "State:\tZ (zombie)\nNSpid:\t7\n", "", same));
        assert!(none("monitor\n", "State:\tS (sleeping)\nNSpid:\t7\t1\n", "monitor\0", same), "in a container below");
        assert!(none("monitor\n", ALIVE, "monitor\0top\0", same));
        assert!(none("monitor\n", ALIVE, "monitor\0--no-flag\0", same));
        assert!(none("monitor\n", ALIVE, "monitor\0", "MONITOR_INTERVAL=6s\0"), "another one's");
    }
}
