//! One agent per machine.

use std::path::Path;
use std::time::SystemTime;

use crate::lock::{DirectoryLock, LockError};
use crate::sources::bpf::pins::{Pins, PinsError};

/// The directory that is locked where nothing can be pinned.
const RUN: &str = "/run/system-monitor";

/// Makes this process the only agent of the machine, as long as it lives.
#[derive(Debug)]
pub struct InstanceGuard {
    pins: Option<Pins>,
    /// The lock that is held if nothing can be pinned.
    _lock: Option<DirectoryLock>,
}

impl InstanceGuard {
    /// Locks the directory of the pins or, where nothing can be pinned, one in `/run`. Without `pin` several agents may
    /// run, each for its own container.
    ///
    /// # Errors
    /// When another agent holds the lock. Every other failure costs the pins alone.
    pub fn acquire(pin: Option<&Path>, holder: &str) -> Result<Self, LockError> {
        let Some(dir) = pin else { return Ok(Self { pins: None, _lock: None }) };
        let error = match Pins::open(dir, holder) {
            Ok(pins) => return Ok(Self { pins: Some(pins), _lock: None }),
            Err(PinsError::Lock(error @ LockError::Held(_))) => return Err(error),
            Err(error) => error,
        };
        tracing::warn!(%error, remedy = error.remedy(), "eBPF counters will not survive a restart: pins unusable");
        match DirectoryLock::acquire(Path::new(RUN), holder) {
            Ok(lock) => Ok(Self { pins: None, _lock: Some(lock) }),
            Err(error @ LockError::Held(_)) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "A second agent on this machine cannot be detected");
                Ok(Self { pins: None, _lock: None })
            }
        }
    }

    /// The directory of pins, if there can be one.
    pub fn pins(&self) -> Option<&Pins> {
        self.pins.as_ref()
    }
}

/// The name under which this process holds a lock.
pub fn holder(now: SystemTime) -> String {
    let since = humantime::format_rfc3339_seconds(now);
    format!("pid {}, since {since}, version {}", std::process::id(), env!("CARGO_PKG_VERSION"))
}
