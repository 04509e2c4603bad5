//! A control group with a known load, watched from the inside by the agent as a process, or from the outside by its
//! library.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, SystemTime};

use monitor::assembly;
use monitor::containers::Roots;
use monitor::containers::own::Own;
use monitor::metrics::Metric;
use monitor::preflight::EbpfMode;
use monitor::programs::ProgramState;
use monitor::report::{Container, Report};
use monitor::snapshot::{Scope, Snapshot, Stamp, Values};
use monitor::sources::bpf;
use monitor::sources::bpf::pins::Pins;
use monitor::sources::cgroup::CgroupFiles;
use monitor::sources::own_container::OwnContainer;
use monitor::sources::procfs::Procfs;
use monitor::sources::{self, Source};

use crate::agent::{self, Agent};
use crate::cgroup::Group;
use crate::eventually;
use crate::oracle::{self, Judged};
use crate::valkey::Valkey;

pub const TIMEOUT: Duration = Duration::from_secs(20);

/// A unix socket, so that the agent's traffic with Valkey is not traffic of the group. An agent without privileges may
/// write to it too.
pub const SOCKET: &[&str] = &["--unixsocket", "{dir}/socket", "--unixsocketperm", "777"];

/// An agent inside a group of its own.
pub struct Watched {
    agent: Agent,
    pub group: Group,
    pub valkey: Valkey,
    name: &'static str,
}

/// Starts one, or skips the test: `watch!(name, prepare the group, interval)`.
#[macro_export]
macro_rules! watch {
    ($name:literal) => {
        $crate::watch!($name, |_| ())
    };
    ($name:literal, $prepare:expr) => {
        $crate::watch!($name, $prepare, "200ms")
    };
    ($name:literal, $prepare:expr, $interval:literal) => {{
        if !$crate::is_root() {
            $crate::skip!("control groups take root");
        }
        let Some(group) = $crate::cgroup::Group::new($name) else { $crate::skip!("no control group can be made here") };
        let Some(valkey) = $crate::valkey::Valkey::start($crate::watched::SOCKET) else {
            $crate::skip!("valkey-server is not installed")
        };
        let prepare: fn(&$crate::cgroup::Group) = $prepare;
        prepare(&group);
        $crate::watched::Watched::start($name, group, valkey, $interval)
    }};
}

/// Skips the test if the kernel refuses the programs that it needs.
#[macro_export]
macro_rules! needs_ebpf {
    ($watched:expr, $($field:literal),+) => {{
        let report = $watched.report();
        $(if let Some(cause) = report.absent.get($field) {
            $crate::skip!("{}: {cause}", $field);
        })+
        report
    }};
}

impl Watched {
    pub fn start(name: &'static str, group: Group, valkey: Valkey, interval: &str) -> Self {
        let arguments = ["--interval", interval, "--scope", "self", "--disk-interval", "0s", "--history", "1h"];
        let mut command = agent::command(&arguments, &[("CONTAINER_NAME", name)]);
        command.env("VALKEY_URL", format!("unix://{}", valkey.path("socket").display()));
        group.enter(&mut command);
        let agent = Agent::spawn(command);
        let watched = Self { agent, group, valkey, name };
        let first = watched.valkey.report(name, TIMEOUT);
        assert!(first.is_some(), "no report; the agent said: {}", watched.agent.said());
        watched
    }

    /// The next report whose reading begins after now.
    pub fn report(&self) -> Judged {
        let read = || {
            let report = self.valkey.report(self.name, TIMEOUT);
            let report = report.unwrap_or_else(|| panic!("no report any more; the agent said: {}", self.agent.said()));
            oracle::report(self.name, &report).unwrap()
        };
        let before = read().timestamp;
        // The next one may have been read already when the load ended; the one after it was not.
        let next = eventually(TIMEOUT, || Some(read().timestamp).filter(|at| *at > before)).expect("no new report");
        eventually(TIMEOUT, || Some(read()).filter(|report| report.timestamp > next)).expect("no new report")
    }

    /// Every report so far.
    pub fn history(&self) -> Vec<Judged> {
        let read = |(_, report): &(String, String)| oracle::report(self.name, report.as_bytes()).unwrap();
        self.valkey.history(self.name).iter().map(read).collect()
    }

    /// Makes the kernel kill others of the group first, if this process may ask for that.
    pub fn spare_the_agent(&self) {
        _ = std::fs::write(format!("/proc/{}/oom_score_adj", self.agent.pid()), "-1000");
    }

    /// The CPU time of the agent, which is in the group as well.
    pub fn cpu_of_the_agent(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.agent.pid())).unwrap().flatten();
        tasks.filter_map(|task| schedstat(&task.path())).sum()
    }

    /// Starts a load in the group.
    pub fn load(&self, arguments: &[&str]) -> Load {
        Load::start(&self.group, arguments)
    }

    /// The entries of the log.
    pub fn entries(&self) -> Vec<oracle::Entry> {
        let prefix = format!("system:logs:{}:", self.name);
        let keys = self.valkey.keys(&prefix);
        keys.iter()
            .filter_map(|key| {
                let bytes: Option<Vec<u8>> = self.valkey.query(&["GET", key]);
                Some(oracle::entry(self.name, key, &bytes?).unwrap())
            })
            .collect()
    }
}

/// A load that runs, or has finished and holds its resources.
pub struct Load {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Load {
    pub fn start(group: &Group, arguments: &[&str]) -> Self {
        // The name of a container that the tests themselves run in is not this container's.
        Self::spawn(group, Command::new(program()).args(arguments).env_remove("CONTAINER_NAME"))
    }

    /// Starts a load in a container with this name in its environment.
    pub fn start_as(group: &Group, arguments: &[&str], name: &str) -> Self {
        Self::spawn(group, Command::new(program()).args(arguments).env("CONTAINER_NAME", name))
    }

    fn spawn(group: &Group, command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        group.enter(command);
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().unwrap());
        Self { child, input, output }
    }

    /// Lets it end by itself.
    pub fn end(mut self) {
        drop(self.input.take());
        self.child.wait().unwrap();
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its CPU time.
    pub fn cpu(&self) -> Duration {
        schedstat(Path::new(&format!("/proc/{}", self.pid()))).unwrap()
    }

    /// True if its first thread sleeps (`proc(5)`): its CPU time is complete by then.
    pub fn sleeps(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        stat.rsplit_once(") ").is_some_and(|(_, fields)| fields.starts_with('S'))
    }

    /// Lets it take its next step, if there is one.
    pub fn go_on(&mut self) {
        self.input.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Waits until it has finished, and returns the lines that it has printed.
    pub fn done(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the load failed: {said:?}");
            match line.trim_end() {
                "done" => return said,
                line => said.push(line.to_owned()),
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        drop(self.input.take());
        // It may still be running.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The program that cargo has built beside the tests.
fn program() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join("load")
}

pub fn whole(report: &Judged, group: &str, field: &str) -> u64 {
    report.json[group][field].as_u64().unwrap_or_else(|| panic!("{group}.{field}: {:?}", report.absent))
}

pub fn real(report: &Judged, group: &str, field: &str) -> f64 {
    report.json[group][field].as_f64().unwrap_or_else(|| panic!("{group}.{field}: {:?}", report.absent))
}

/// One reading, and its report.
pub struct Look {
    container: Container,
    pub values: Values,
}

impl std::ops::Deref for Look {
    type Target = Container;

    fn deref(&self) -> &Container {
        &self.container
    }
}

/// The library's sources, on a group that this process is not in.
pub struct Outside {
    sources: Vec<Box<dyn Source>>,
    pub programs: Vec<ProgramState>,
    before: Option<Snapshot>,
}

impl Outside {
    /// Watches the group's files and processes.
    pub fn files(group: &Group) -> Self {
        let own = group.own();
        let mut outside = Self::ebpf(group, EbpfMode::Off);
        outside.sources = vec![
            entry(own),
            Box::new(CgroupFiles::new(1000, Path::new("/sys"))),
            Box::new(Procfs::new(&Roots::default())),
        ];
        outside
    }

    /// Watches the group's files as an agent does that leaves to eBPF the numbers that the programs provide.
    pub fn agent(group: &Group) -> Self {
        let mut outside = Self::ebpf(group, EbpfMode::Auto);
        outside.sources.push(Box::new(CgroupFiles::new(1000, Path::new("/sys"))));
        outside
    }

    /// Watches the counters of eBPF programs, and nothing else.
    pub fn ebpf(group: &Group, mode: EbpfMode) -> Self {
        Self::programs(group, mode, false, None)
    }

    /// The same, optionally with descriptors that are opened and closed; counters survive with pins.
    pub fn programs(group: &Group, mode: EbpfMode, fd_events: bool, pins: Option<&Pins>) -> Self {
        let own = group.own();
        let roots = Roots::default();
        let decisions = assembly::program_decisions(&roots, mode, fd_events, Scope::SelfContainer);
        let (source, programs) = bpf::open(&decisions, &bpf::Part::of(&own), &roots, pins, now);
        Self { sources: vec![entry(own), Box::new(source)], programs, before: None }
    }

    /// Takes a reading; rates are relative to the one before.
    pub fn look(&mut self) -> Look {
        let sampled = sources::sample(&mut self.sources, now);
        assert!(sampled.errors.is_empty(), "{:?}", sampled.errors);
        let report = Report::new(self.before.as_ref(), &sampled.snapshot, sampled.cost);
        let values = sampled.snapshot.cgroups.values().next().unwrap().values.clone();
        self.before = Some(sampled.snapshot);
        let container = report.containers.into_iter().next().unwrap();
        for metric in Metric::ALL.iter().filter(|metric| container.real(**metric).is_some_and(|value| value != 0.0)) {
            crate::seen(metric.spec().name());
        }
        Look { container, values }
    }

    /// Events that were not counted, up to the last reading.
    pub fn lost(&self) -> u64 {
        self.before.as_ref().map_or(0, |before| before.lost_events)
    }

    /// A counter as read from the kernel.
    pub fn counter(&mut self, metric: Metric) -> u64 {
        let read = self.look().values.get(metric).map(|read| read.map_err(ToString::to_string));
        read.unwrap_or_else(|| panic!("nothing reads {metric:?}")).unwrap_or_else(|cause| panic!("{metric:?}: {cause}"))
    }
}

fn entry(own: Own) -> Box<dyn Source> {
    Box::new(OwnContainer::new(own, &Roots::default()))
}

fn now() -> Stamp {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let mono = Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap());
    Stamp { mono, wall: SystemTime::now() }
}

/// The CPU time of a task (`Documentation/scheduler/sched-stats.rst`).
fn schedstat(task: &Path) -> Option<Duration> {
    let text = std::fs::read_to_string(task.join("schedstat")).ok()?;
    Some(Duration::from_nanos(text.split(' ').next()?.parse().ok()?))
}
