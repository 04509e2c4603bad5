//! The environment, clock and signals that `main.rs` passes to everything below it.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use crate::hardening::landlock::AllowedAccess;
use crate::sinks::service::Manager;
use crate::snapshot::Stamp;

/// Reads the clocks.
pub type Clock = fn() -> Stamp;

/// Completes when the process is asked to end.
pub type Shutdown = Pin<Box<dyn Future<Output = ()>>>;

/// Environment, clock and signals.
#[derive(Clone, Debug)]
pub struct ProcessContext {
    /// Reads the clocks.
    pub clock: Clock,
    /// Installs handlers for the signals that end the process. Takes a runtime.
    pub shutdown: fn() -> io::Result<Shutdown>,
    /// True if escape sequences may be printed to a terminal.
    pub use_color: bool,
    /// True if a terminal can move its cursor: it is not `dumb`.
    pub can_draw: bool,
    /// Files and directories that the environment names as certificate authorities.
    pub certificates: Vec<PathBuf>,
    /// The service manager that started the process, if one did.
    pub service_manager: Option<ServiceManager>,
}

/// The service manager (`sd_notify(3)`).
#[derive(Clone, Debug)]
pub struct ServiceManager {
    /// Its socket.
    pub socket: Manager,
    /// The watchdog timeout: the service manager ends a process that stays silent for longer.
    pub watchdog: Option<Duration>,
}

impl ProcessContext {
    /// The files and sockets that the environment names.
    pub(super) fn access(&self) -> AllowedAccess {
        AllowedAccess {
            read: self.certificates.clone(),
            abstract_sockets: self.service_manager.as_ref().is_some_and(|manager| manager.socket.is_abstract()),
            ..AllowedAccess::default()
        }
    }
}
