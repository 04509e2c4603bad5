//! A Docker daemon, a Valkey server, and an agent that watches the machine.

use std::fs;
use std::time::Duration;

use tests::eventually;
use tests::oracle::{self, Judged};
use tests::valkey::Valkey;

pub(crate) const TIMEOUT: Duration = Duration::from_secs(30);

/// Starts a daemon, a server, and an agent that watches the machine.
macro_rules! world {
    () => {{
        let docker = match docker::daemon() {
            Ok(docker) => docker,
            Err(reason) => skip!("{reason}"),
        };
        let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
        let agent = Agent::start(valkey.port, &["--scope", "host", "--interval", "300ms"], &[]);
        wait_for_the_machine(&valkey);
        (docker, valkey, agent)
    }};
}

/// The agent watches from its first report on.
pub(crate) fn wait_for_the_machine(valkey: &Valkey) {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    valkey.report(name.trim(), TIMEOUT).expect("no report of the machine");
}

pub(crate) fn report(valkey: &Valkey, name: &str, fits: impl Fn(&Judged) -> bool) -> Judged {
    report_within(TIMEOUT, valkey, name, fits)
}

pub(crate) fn report_within(timeout: Duration, valkey: &Valkey, name: &str, fits: impl Fn(&Judged) -> bool) -> Judged {
    let latest = || oracle::report(name, &valkey.report(name, Duration::from_millis(50))?).ok().filter(&fits);
    eventually(timeout, latest).unwrap_or_else(|| {
        let last = valkey.report(name, Duration::ZERO).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        panic!("{name}: {last:?}; there are {:?}", valkey.keys("system:metrics:"))
    })
}

/// The next report whose reading begins after now: the very next one may have begun before.
pub(crate) fn fresh(valkey: &Valkey, name: &str) -> Judged {
    let before = report(valkey, name, |_| true);
    let next = report(valkey, name, |report| report.timestamp > before.timestamp);
    report(valkey, name, |report| report.timestamp > next.timestamp)
}

/// The number of reports in its history with the status `exited`.
pub(crate) fn ends(valkey: &Valkey, name: &str) -> usize {
    valkey.history(name).iter().filter(|(_, report)| report.contains(r#""status":"exited""#)).count()
}

pub(crate) fn short(id: &str) -> &str {
    &id[..12]
}

/// Starts a daemon, a server, and an agent that asks the daemon for names.
macro_rules! asking {
    ($($argument:literal),*) => {{
        let docker = match docker::daemon() {
            Ok(docker) => docker,
            Err(reason) => skip!("{reason}"),
        };
        let Some(valkey) = Valkey::start(&[]) else { skip!("valkey-server is not installed") };
        let arguments = ["--scope", "host", "--interval", "500ms", "--runtime-sockets", &docker.socket(), $($argument),*];
        let agent = Agent::start(valkey.port, &arguments, &[]);
        wait_for_the_machine(&valkey);
        (docker, valkey, agent)
    }};
}

/// A name that no other test uses.
pub(crate) fn own(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}
