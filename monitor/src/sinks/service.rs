//! The service manager (`sd_notify(3)`): ready with the first report, alive while readings finish.

use std::ffi::OsStr;
use std::future::ready;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;

use super::sink::{Retry, Sink, SinkError, SinkFuture};
use crate::report::Report;
use crate::snapshot::Coverage;

/// The service manager's socket.
#[derive(Clone, Debug)]
pub struct Manager(SocketAddr);

impl Manager {
    /// The socket in `NOTIFY_SOCKET`: a path, or a name in the abstract namespace behind an `@`. `None` for anything
    /// else.
    pub fn at(socket: &OsStr) -> Option<Self> {
        match socket.as_bytes() {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name).ok(),
            [b'/', ..] => SocketAddr::from_pathname(socket).ok(),
            _ => None,
        }
        .map(Self)
    }

    /// Returns whether the socket is in the abstract namespace.
    pub fn is_abstract(&self) -> bool {
        self.0.as_abstract_name().is_some()
    }

    /// Sends states, at once or not at all: a manager that does not read must not stop what it watches.
    ///
    /// # Errors
    /// When there is no manager, or it has not read earlier messages.
    pub fn notify(&self, states: &[NotifyState<'_>]) -> io::Result<()> {
        let message: String = states.iter().map(|state| format!("{state}\n")).collect();
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.send_to_addr(message.as_bytes(), &self.0).map(|_| ())
    }
}

/// An agent that finishes no reading for this number of intervals hangs.
const INTERVALS: u32 = 3;

/// Reports to the service manager.
pub struct Service<N> {
    notify: N,
    /// The states that are sent once, with the first report.
    first: Vec<NotifyState<'static>>,
    /// The messages that could not be said.
    failed_notifications: u64,
}

impl<N> Service<N> {
    /// Creates the sink. `watchdog` is the manager's timeout for a silent agent; an agent with a longer interval asks
    /// for a longer timeout.
    pub fn new(notify: N, watchdog: Option<Duration>, interval: Duration) -> Self {
        let needed = interval * INTERVALS;
        let longer = watchdog.filter(|watchdog| *watchdog < needed).map(|_| {
            let micros = u32::try_from(needed.as_micros()).unwrap_or(u32::MAX);
            NotifyState::WatchdogUsec(micros)
        });
        Self { notify, first: longer.into_iter().chain([NotifyState::Ready]).collect(), failed_notifications: 0 }
    }
}

impl<N: Fn(&[NotifyState<'_>]) -> io::Result<()> + Send> Sink for Service<N> {
    fn write<'a>(&'a mut self, report: &'a Arc<Report>) -> SinkFuture<'a, Result<(), SinkError>> {
        // A report between two ticks says nothing about the ticks.
        if report.coverage != Coverage::All {
            return Box::pin(ready(Ok(())));
        }
        let status = status(report, self.failed_notifications);
        let mut states = self.first.clone();
        states.extend([NotifyState::Watchdog, NotifyState::Status(&status)]);
        let sent = (self.notify)(&states);
        match sent {
            Ok(()) => self.first.clear(),
            Err(_) => self.failed_notifications += 1,
        }
        Box::pin(ready(sent.map_err(|error| SinkError {
            text: format!("notifying the service manager: {error}"),
            retry: Retry::Soon,
        })))
    }
}

fn status(report: &Report, failed: u64) -> String {
    let count = report.containers.len();
    let what = if count == 1 { "container" } else { "containers" };
    let failed = if failed == 0 { String::new() } else { format!("; failed_notifications={failed}") };
    format!("{count} {what} on {}, read in {:.1} ms{failed}", report.host, report.cost.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::SystemTime;

    use super::*;
    use crate::snapshot::{Snapshot, Stamp};

    /// The messages to a manager with this watchdog for two reports of an agent with this interval.
    async fn hears(watchdog: Option<u64>, interval: u64) -> Vec<String> {
        let heard = Mutex::<Vec<String>>::default();
        let notify = |states: &[NotifyState<'_>]| {
            heard.lock().unwrap().extend(states.iter().map(ToString::to_string));
            Ok(())
        };
        let mut service = Service::new(notify, watchdog.map(Duration::from_secs), Duration::from_secs(interval));
        let taken = Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
        let report = Report::new(None, &Snapshot::new(taken), Duration::from_millis(3)).into();
        service.write(&report).await.unwrap();
        service.write(&report).await.unwrap();
        drop(service);
        heard.into_inner().unwrap()
    }

    #[tokio::test]
    async fn the_first_report_makes_ready_and_each_one_is_a_sign_of_life() {
        let status = "STATUS=0 containers on , read in 3.0 ms";
        let expected = ["READY=1", "WATCHDOG=1", status, "WATCHDOG=1", status];
        assert_eq!(hears(Some(30), 5).await, expected);
        assert_eq!(hears(None, 3600).await, expected);
    }

    #[tokio::test]
    async fn long_intervals_need_a_longer_watchdog() {
        assert_eq!(hears(Some(30), 11).await[0], "WATCHDOG_USEC=33000000");
        // The protocol knows no longer ones.
        assert_eq!(hears(Some(30), 3600).await[0], "WATCHDOG_USEC=4294967295");
    }

    #[tokio::test]
    async fn readiness_is_said_again_when_it_was_not_heard() {
        let deaf = |_: &[NotifyState<'_>]| Err(io::ErrorKind::ConnectionRefused.into());
        let mut service = Service::new(deaf, None, Duration::from_secs(5));
        let taken = Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH };
        let report = Report::new(None, &Snapshot::new(taken), Duration::ZERO).into();
        assert!(service.write(&report).await.is_err());
        assert!(matches!(service.first[..], [NotifyState::Ready]));
        assert_eq!(
            status(&report, service.failed_notifications),
            "0 containers on , read in 0.0 ms; failed_notifications=1"
        );
    }

    #[test]
    fn a_manager_is_told_by_path_and_by_abstract_name_and_never_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("notify");
        let name = format!("@system-monitor-test-{}", std::process::id());
        let at_path = (UnixDatagram::bind(&path).unwrap(), Manager::at(path.as_os_str()).unwrap());
        let address = SocketAddr::from_abstract_name(&name.as_bytes()[1..]).unwrap();
        let at_name = (UnixDatagram::bind_addr(&address).unwrap(), Manager::at(OsStr::new(&name)).unwrap());
        assert_eq!((at_path.1.is_abstract(), at_name.1.is_abstract()), (false, true));
        for (socket, manager) in [at_path, at_name] {
            manager.notify(&[NotifyState::Ready, NotifyState::Watchdog]).unwrap();
            let mut heard = [0; 64];
            let length = socket.recv(&mut heard).unwrap();
            assert_eq!(&heard[..length], b"READY=1\nWATCHDOG=1\n");
            let refused = std::iter::repeat_with(|| manager.notify(&[NotifyState::Watchdog])).find_map(Result::err);
            assert_eq!(refused.unwrap().kind(), io::ErrorKind::WouldBlock);
        }
        assert!(Manager::at(OsStr::new("vsock:2:1234")).is_none());
    }
}
