//! Statistics that servers report.

use std::collections::BTreeMap;
use std::fs;
use std::ops::{AddAssign, Sub};
use std::time::Duration;

use tests::valkey::Valkey;

/// The work of all servers so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    pub(crate) cpu: Duration,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Reads from a connection: a pipeline is one, unless it is long.
    pub(crate) reads: u64,
    /// The number of calls by command.
    pub(crate) calls: BTreeMap<String, u64>,
}

impl Work {
    pub(crate) fn of(servers: &[Valkey]) -> Self {
        let mut all = Self::default();
        servers.iter().for_each(|server| all += Self::of_one(server));
        all
    }

    fn of_one(server: &Valkey) -> Self {
        let said: String = server.query(&["INFO", "everything"]);
        let number = |name: &str| {
            let value = said.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or_else(|| panic!("{name}")).trim().parse::<u64>().unwrap()
        };
        let calls = said.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
            Some((name.to_uppercase(), rest.split(',').next()?.parse().ok()?))
        });
        Self {
            cpu: cpu(server),
            received: number("total_net_input_bytes"),
            sent: number("total_net_output_bytes"),
            reads: number("total_reads_processed"),
            calls: calls.collect(),
        }
    }

    /// Reports of one container each, by the updates of the list of containers: there is one for each.
    pub(crate) fn reports(&self) -> f64 {
        self.calls.get("ZADD").copied().unwrap_or_default() as f64
    }

    /// Commands that agents send, and the few that measure a server.
    pub(crate) fn commands(&self) -> u64 {
        self.calls.iter().filter(|(name, _)| *name != "INFO").map(|(_, calls)| calls).sum()
    }
}

impl AddAssign for Work {
    fn add_assign(&mut self, other: Self) {
        self.cpu += other.cpu;
        self.received += other.received;
        self.sent += other.sent;
        self.reads += other.reads;
        for (name, calls) in other.calls {
            *self.calls.entry(name).or_default() += calls;
        }
    }
}

impl Sub<&Self> for Work {
    type Output = Self;

    fn sub(mut self, before: &Self) -> Self {
        for (name, calls) in &mut self.calls {
            *calls -= before.calls.get(name).copied().unwrap_or_default();
        }
        self.calls.retain(|_, calls| *calls > 0);
        Self {
            cpu: self.cpu - before.cpu,
            received: self.received - before.received,
            sent: self.sent - before.sent,
            reads: self.reads - before.reads,
            calls: self.calls,
        }
    }
}

/// CPU time of all threads of a server: `schedstat`, in nanoseconds.
pub(crate) fn cpu(server: &Valkey) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", server.pid())).unwrap().flatten();
    let nanos = tasks.filter_map(|task| {
        fs::read_to_string(task.path().join("schedstat")).ok()?.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}
