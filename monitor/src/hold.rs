//! What an agent holds while it runs, and what it gives up before.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use monitor::config::{Config, PINS};
use monitor::lock::{self, Lock};
use monitor::preflight::Plan;
use monitor::sandbox::{self, Held};
use monitor::sources::bpf::pins::{Pins, PinsError};

use crate::{cli, now};

/// Held by the agent of a machine that cannot pin.
const RUN: &str = "/run/system-monitor";

/// What makes this the only agent of the machine.
pub(crate) struct Hold {
    pub(crate) pins: Option<Pins>,
    /// Where there can be no pins.
    _lock: Option<Lock>,
}

impl Hold {
    /// Fails when another agent is there already; what else is refused costs the pins alone.
    pub(crate) fn take(config: &Config) -> anyhow::Result<Self> {
        let Some(dir) = &config.pin else { return Ok(Self { pins: None, _lock: None }) };
        let error = match Pins::open(dir, &me()) {
            Ok(pins) => return Ok(Self { pins: Some(pins), _lock: None }),
            Err(PinsError::Lock(error @ lock::Error::Held(_))) => bail!("{error}; {}", error.cure()),
            Err(error) => error,
        };
        tracing::warn!("what eBPF counts ends with this agent: {error}; {}", error.cure());
        match Lock::take(Path::new(RUN), &me()) {
            Ok(lock) => Ok(Self { pins: None, _lock: Some(lock) }),
            Err(error @ lock::Error::Held(_)) => bail!("{error}; {}", error.cure()),
            Err(error) => {
                tracing::debug!("nothing keeps a second agent away: {error}");
                Ok(Self { pins: None, _lock: None })
            }
        }
    }
}

/// Who this agent is, for one that comes later.
fn me() -> String {
    let since = humantime::format_rfc3339_seconds(now().wall);
    format!("pid {}, since {since}, version {}", std::process::id(), env!("CARGO_PKG_VERSION"))
}

/// Removes what agents before have pinned.
pub(crate) fn detach(config: &Config) -> anyhow::Result<ExitCode> {
    let dir = config.pin.as_deref().unwrap_or(Path::new(PINS));
    if !dir.try_exists().with_context(|| dir.display().to_string())? {
        return Ok(cli::print(format!("nothing is pinned in {}\n", dir.display()).as_bytes()));
    }
    let pins = Pins::open(dir, &me()).map_err(|error| anyhow!("{error}; {}", error.cure()))?;
    let removed: String = pins.detach()?.iter().map(|what| format!("removed {what}\n")).collect();
    Ok(cli::print(format!("{removed}removed {}\n", dir.display()).as_bytes()))
}

/// Gives up what no thread of the agent will need.
pub(crate) fn before_threads(plan: &Plan) {
    if plan.drop.is_take() {
        drop_capabilities(plan);
    }
    if plan.readers_are_held {
        landlock(plan);
    }
}

/// Gives up what only those threads need that read: files and ports for this thread and what it starts, system calls for
/// all of them.
pub(crate) fn after_readers(plan: &Plan) {
    if !plan.readers_are_held {
        landlock(plan);
    }
    if plan.seccomp.is_take()
        && let Err(error) = sandbox::seccomp(plan.grows)
    {
        tracing::warn!("system calls that are not needed stay possible: {error}");
    }
}

fn drop_capabilities(plan: &Plan) {
    match sandbox::drop_capabilities(plan.keep()) {
        Ok(kept) => tracing::debug!("capabilities that are kept: {}", sandbox::names(kept)),
        Err(error) => tracing::warn!("capabilities cannot be dropped: {error}"),
    }
}

fn landlock(plan: &Plan) {
    if !plan.landlock.is_take() {
        return;
    }
    let mut reach = plan.reach.clone();
    // Where the system's authorities are, if not where they usually are.
    reach.read.extend(["SSL_CERT_FILE", "SSL_CERT_DIR"].into_iter().filter_map(std::env::var_os).map(PathBuf::from));
    reach.abstract_sockets = std::env::var_os("NOTIFY_SOCKET").is_some_and(|name| name.as_bytes().starts_with(b"@"));
    match sandbox::landlock(&reach) {
        Ok(Held::NotAtAll) => tracing::debug!("this kernel has no Landlock"),
        Ok(held) => tracing::debug!("Landlock holds this process: {held:?}"),
        Err(error) => tracing::warn!("files and ports that are not needed stay within reach: {error}"),
    }
}
