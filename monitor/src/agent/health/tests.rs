use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tracing_subscriber::fmt::MakeWriter;

use super::*;
use crate::snapshot::{Identity, Snapshot, Stamp};

/// Collects log lines.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// The lines that are logged meanwhile.
fn logged(log: impl FnOnce()) -> Vec<String> {
    let lines = Lines::default();
    let subscriber =
        tracing_subscriber::fmt().with_writer(lines.clone()).with_ansi(false).with_target(false).without_time();
    tracing::subscriber::with_default(subscriber.finish(), log);
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    text.lines().map(|line| line.trim().to_owned()).collect()
}

/// The cause for which a container has no numbers of memory and processes, if it has none.
type Lacks = Option<(CauseKind, &'static str)>;

fn report(containers: &[(&str, Status, Lacks)]) -> Report {
    let mut now = Snapshot::new(Stamp { mono: Duration::ZERO, wall: SystemTime::UNIX_EPOCH });
    for (id, (name, status, lacks)) in (1..).zip(containers) {
        let cgroup = now.cgroups.entry(CgroupId(id)).or_default();
        cgroup.identity = Identity { name: (*name).to_owned(), ..Identity::default() }.into();
        cgroup.status = *status;
        for &metric in &Health::default().watched {
            let lacks = lacks
                .filter(|_| [Metric::MemoryUsage, Metric::ProcessCount, Metric::FileDescriptors].contains(&metric));
            let values = if metric.is_shared() { &mut now.host.values } else { &mut cgroup.values };
            match lacks {
                Some((kind, text)) => values.miss(metric, 0, Cause::new(kind, text)),
                None => values.put(metric, 0, 1),
            }
        }
    }
    Report::new(None, &now, Duration::ZERO)
}

#[test]
fn one_cause_is_one_line_with_a_count_and_so_is_its_end() {
    let mut health = Health::default();
    let denied = Some((CauseKind::Denied, "Permission denied"));
    let without = report(&[("web", Status::Running, denied), ("db", Status::Running, denied)]);
    assert_eq!(
        logged(|| health.report(&without)),
        [
            "WARN Error reading memory.current: Permission denied count=2 numbers=\"memory.current\" \
             containers=\"web, db\"",
            "WARN Error reading process_count: Permission denied count=4 numbers=\"process_count, file_descriptors\" \
             containers=\"web, db\"",
        ]
    );
    assert_eq!(logged(|| health.report(&without)), Vec::<String>::new(), "and no line more as long as it lasts");
    let with = report(&[("web", Status::Running, None), ("db", Status::Running, None)]);
    assert_eq!(
        logged(|| health.report(&with)),
        [
            "INFO Readable again count=2 numbers=\"memory.current\" containers=\"web, db\"",
            "INFO Readable again count=4 numbers=\"process_count, file_descriptors\" \
             containers=\"web, db\"",
        ]
    );
}

#[test]
fn the_end_of_a_container_is_logged_as_such_and_its_numbers_are_no_warnings() {
    let mut health = Health::default();
    let gone = Some((CauseKind::Exited, "the container has ended"));
    assert_eq!(logged(|| health.report(&report(&[("web", Status::Running, None)]))), Vec::<String>::new());
    assert_eq!(logged(|| health.report(&report(&[("web", Status::Running, gone)]))), Vec::<String>::new());
    assert_eq!(
        logged(|| health.report(&report(&[("web", Status::Exited, gone), ("db", Status::Exited, gone)]))),
        [r#"INFO Containers exited count=2 containers="web, db""#]
    );
}

#[test]
fn of_many_names_the_first_are_in_the_line() {
    let names: Vec<String> = (0..20).map(|number| format!("c{number}")).collect();
    let exited: Vec<_> = names.iter().map(|name| (name.as_str(), Status::Exited, None)).collect();
    assert_eq!(
        logged(|| Health::default().report(&report(&exited))),
        [r#"INFO Containers exited count=20 containers="c0, c1, c2, c3, c4, c5, c6, c7, …""#]
    );
}
