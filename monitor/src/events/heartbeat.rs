//! The heartbeat of a container's log.

use std::fmt;

use crate::metrics::{GROUPS, Metric};
use crate::report::Container;

/// Begins the list of backends in a heartbeat, by which readers of the log know one.
pub(super) const SOURCES: &str = "sources: ";

/// The numbers of a heartbeat: metric, words behind it, divisor, digits.
const NUMBERS: [(Metric, &str, f64, usize); 5] = [
    (Metric::CpuPercent, " % CPU", 1.0, 1),
    (Metric::MemoryUsage, " MiB", 1_048_576.0, 1),
    (Metric::MemoryPercent, " % of memory", 1.0, 1),
    (Metric::ProcessCount, " processes", 1.0, 0),
    (Metric::FileDescriptors, " descriptors", 1.0, 0),
];

/// The state of a container in one line: an entry for readers of the log although nothing happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Heartbeat {
    numbers: [Option<f64>; NUMBERS.len()],
    /// The backend that feeds each of [`GROUPS`].
    backends: [Option<&'static str>; GROUPS.len()],
    /// The state of the connection on which it is sent, if it is sent on one.
    connection: Option<String>,
}

impl Heartbeat {
    /// The heartbeat of a container.
    pub fn new(container: &Container, connection: Option<String>) -> Self {
        let backend = |at: usize| Some(container.origins.of(GROUPS[at].1)?.backend());
        Self {
            numbers: NUMBERS.map(|(metric, ..)| container.real(metric)),
            backends: std::array::from_fn(backend),
            connection,
        }
    }
}

impl fmt::Display for Heartbeat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (value, (_, unit, divisor, digits)) in self.numbers.iter().zip(NUMBERS) {
            if let Some(value) = value {
                write!(f, "{:.digits$}{unit}, ", value / divisor)?;
            }
        }
        let groups = || GROUPS.iter().zip(self.backends);
        let there: Vec<String> =
            groups().filter_map(|((group, _), backend)| Some(format!("{group} from {}", backend?))).collect();
        let absent: Vec<&str> =
            groups().filter(|(_, backend)| backend.is_none()).map(|((group, _), _)| *group).collect();
        write!(f, "{SOURCES}{}", there.join(", "))?;
        if !absent.is_empty() {
            write!(f, "; absent: {}", absent.join(", "))?;
        }
        self.connection.iter().try_for_each(|connection| write!(f, "; {connection}"))
    }
}
