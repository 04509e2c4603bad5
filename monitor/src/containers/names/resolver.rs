//! Thread that resolves names, so that a slow lookup delays only names.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::environment::FirstProcess;
use super::files::Files;
use super::socket::Socket;
use crate::containers::info::{ContainerInfo, NameRequest, StateFile};
use crate::containers::registry::Registry;
use crate::containers::runtime_path::OCI;
use crate::foreign::{FileVersion, Worker};
use crate::mutex::lock;
use crate::snapshot::{CgroupId, Stamp};

/// Retry delays while neither the runtime nor the first process has given a name.
const AGAIN: [Duration; 8] = [
    Duration::from_millis(20),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(300),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(5),
];

/// Retries while the first process is still the runtime's own; the later ones are `SLOWEST_START` apart, which makes
/// half a minute. On a busy machine a runtime takes seconds to start a container, which may exit half a second later.
const MOST_STARTING: usize = 150;
/// The greatest delay of such a retry.
const SLOWEST_START: Duration = Duration::from_millis(200);

/// Longest wait for the environment of a process: its pages can be those of a file that is never read.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Environments of one container that may remain unanswered; none is asked for afterwards.
const MOST_SILENT: u8 = 2;

/// Interval at which known names are checked for changes.
const FOLLOW: Duration = Duration::from_secs(5);

/// The paths that names are read from.
#[derive(Clone, Debug)]
pub struct RuntimePaths {
    /// The machine's root.
    pub host: PathBuf,
    /// procfs.
    pub proc: PathBuf,
    /// Sockets of Docker and Podman.
    pub sockets: Vec<PathBuf>,
}

/// The thread's state.
#[derive(Debug)]
pub struct NameResolver {
    files: Files,
    proc: PathBuf,
    environments: Worker,
    /// Containers whose environments did not answer, and how often.
    silent: BTreeMap<CgroupId, u8>,
    sockets: Vec<Socket>,
    registry: Arc<Mutex<Registry>>,
    clock: fn() -> Stamp,
    /// New requests of containers that may have had a process.
    inhabited: VecDeque<(NameRequest, FirstProcess)>,
    /// New requests of other containers.
    empty: VecDeque<(NameRequest, FirstProcess)>,
    /// Requests to repeat: the time, the attempts, and the request.
    waiting: BTreeMap<CgroupId, (Duration, Attempts, NameRequest)>,
    followed: BTreeMap<CgroupId, (NameRequest, Origin)>,
    follow_due: Duration,
}

/// The number of lookups of one name.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    /// While the first process was the runtime's own.
    starting: usize,
    /// Otherwise.
    started: usize,
}

impl Attempts {
    /// Those of a name that is looked up because it has changed: no retry follows.
    const OVER: Self = Self { starting: MOST_STARTING, started: AGAIN.len() };

    /// Counts an attempt, and returns the delay before the next.
    fn pause(&mut self, is_starting: bool) -> Option<Duration> {
        let is_starting = is_starting && self.starting < MOST_STARTING;
        let attempts = if is_starting { &mut self.starting } else { &mut self.started };
        let pause = AGAIN.get(*attempts).copied();
        *attempts += 1;
        if is_starting { Some(pause.map_or(SLOWEST_START, |pause| pause.min(SLOWEST_START))) } else { pause }
    }
}

/// The source of a name, which changes with it.
#[derive(Debug)]
enum Origin {
    File(StateFile, FileVersion),
    Socket,
}

impl NameResolver {
    /// Starts the thread, which reports to `registry` and ends when no sender is left. `prepare` runs first in the
    /// threads that read what may never answer.
    ///
    /// # Errors
    /// If the thread or its async runtime cannot start.
    pub fn start(
        paths: &RuntimePaths,
        registry: Arc<Mutex<Registry>>,
        clock: fn() -> Stamp,
        prepare: fn(),
    ) -> std::io::Result<Sender<NameRequest>> {
        let (ask, requests) = mpsc::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let resolver = Self {
            files: Files::new(&paths.host),
            proc: paths.proc.clone(),
            environments: Worker::new("environments", prepare),
            silent: BTreeMap::new(),
            sockets: paths.sockets.iter().cloned().map(Socket::new).collect(),
            registry,
            clock,
            inhabited: VecDeque::new(),
            empty: VecDeque::new(),
            waiting: BTreeMap::new(),
            followed: BTreeMap::new(),
            follow_due: clock().mono + FOLLOW,
        };
        thread::Builder::new().name("names".into()).spawn(move || resolver.run(&requests, &runtime))?;
        Ok(ask)
    }

    fn run(mut self, requests: &Receiver<NameRequest>, runtime: &tokio::runtime::Runtime) {
        loop {
            let now = (self.clock)().mono;
            let due = self.waiting.values().map(|(due, ..)| *due).min().unwrap_or(self.follow_due).min(self.follow_due);
            let idle = if self.has_new() { Duration::ZERO } else { due.saturating_sub(now) };
            match requests.recv_timeout(idle) {
                Ok(request) => self.enqueue(request, requests),
                Err(RecvTimeoutError::Timeout) => runtime.block_on(self.answer_next()),
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// Queues the requests received so far. Their first processes may exit soon: their environments are read before any
    /// slow API is called. Containers with processes come first, since anybody may create thousands of empty cgroups.
    fn enqueue(&mut self, request: NameRequest, requests: &Receiver<NameRequest>) {
        for request in std::iter::once(request).chain(requests.try_iter()) {
            let first = self.first_process(&request);
            let queue = if had_process(&request, &first) { &mut self.inhabited } else { &mut self.empty };
            queue.push_back((request, first));
        }
    }

    /// True if a new request waits for its first answer.
    fn has_new(&self) -> bool {
        !(self.inhabited.is_empty() && self.empty.is_empty())
    }

    /// Answers a new request of a container that has processes, else retries one that is due, else answers one of a
    /// container without processes, else checks for changed names.
    async fn answer_next(&mut self) {
        let now = (self.clock)();
        let due = self.waiting.iter().filter(|(_, (due, ..))| *due <= now.mono);
        let due = due.min_by_key(|(_, (due, ..))| *due).map(|(id, _)| *id);
        if let Some((request, first)) = self.inhabited.pop_front() {
            self.answer(request, Attempts::default(), first).await;
        } else if let Some((_, attempts, request)) = due.and_then(|id| self.waiting.remove(&id)) {
            let first = self.first_process(&request);
            self.answer(request, attempts, first).await;
        } else if let Some((request, first)) = self.empty.pop_front() {
            self.answer(request, Attempts::default(), first).await;
        } else if now.mono >= self.follow_due {
            self.follow_due = now.mono + FOLLOW;
            self.follow(now).await;
        }
    }

    /// Reads the first process of a container.
    fn first_process(&mut self, request: &NameRequest) -> FirstProcess {
        if self.silent.get(&request.id).is_some_and(|times| *times >= MOST_SILENT) {
            return FirstProcess::UNREAD;
        }
        let (proc, dirs) = (self.proc.clone(), request.dirs.clone());
        let asked = self.environments.ask(TIMEOUT, move |_| FirstProcess::read(&proc, &dirs));
        asked.unwrap_or_else(|error| {
            if error.kind() == std::io::ErrorKind::TimedOut {
                *self.silent.entry(request.id).or_default() += 1;
            }
            let directory = request.dirs.first().map(|dir| dir.display().to_string()).unwrap_or_default();
            tracing::warn!(%directory, %error, "The environment of a container's first process cannot be read");
            FirstProcess::UNREAD
        })
    }

    /// Resolves a name, after these attempts. `first` is the first process, read before.
    async fn answer(&mut self, request: NameRequest, mut attempts: Attempts, first: FirstProcess) {
        let id = request.id;
        if !lock(&self.registry).is_known(id) {
            return;
        }
        // It is looked up again as soon as it has a process.
        let is_empty = !had_process(&request, &first);
        let is_starting = first.is_runtimes;
        let (mut known, origin) = self.look_up(&request, first).await;
        let is_over = known.is_final || is_empty;
        let due = if is_over { None } else { self.due(attempts.pause(is_starting), &request, &known) };
        match due {
            Some(due) => _ = self.waiting.insert(id, (due, attempts, request.clone())),
            // A request from before it had a process does not end the retries of a later one.
            None if is_empty => {}
            None => {
                self.waiting.remove(&id);
                known.is_final = true;
            }
        }
        lock(&self.registry).named(id, &known);
        if let Some(origin) = origin {
            self.followed.insert(id, (request, origin));
        }
    }

    /// Returns the time of the next attempt: after the pause, or at the end of a runtime's cooldown if it may know the
    /// name.
    fn due(&self, pause: Option<Duration>, request: &NameRequest, known: &ContainerInfo) -> Option<Duration> {
        let now = (self.clock)().mono;
        let rested = || {
            let may_know = has_interface(request) && known.name.is_none();
            self.sockets.iter().filter_map(|socket| socket.rests_until(now)).min().filter(|_| may_know)
        };
        pause.map(|pause| now + pause).or_else(rested)
    }

    async fn look_up(&mut self, request: &NameRequest, first: FirstProcess) -> (ContainerInfo, Option<Origin>) {
        let NameRequest { id, hint, user, .. } = request;
        let is_in_pod = request.is_in_pod();
        let mut known = self.files.look_up(hint, *user, is_in_pod);
        let unnamed = |known: &Option<ContainerInfo>| known.as_ref().is_none_or(|known| known.name.is_none());
        let has_interface = has_interface(request) && had_process(request, &first);
        if first.name.is_some() && has_interface && unnamed(&known) {
            // The container may exit while its runtime is asked.
            let so_far = known.clone().unwrap_or_default().with_process_name(first.name.clone());
            lock(&self.registry).named(*id, &so_far);
        }
        if has_interface && unnamed(&known) && self.learn_roots().await {
            known = self.files.look_up(hint, *user, is_in_pod);
        }
        let source = known.as_ref().and_then(|known| known.source.clone());
        let mut origin = source.map(|(file, version)| Origin::File(file, version));
        if let (Some(id), true) = (&hint.id, has_interface && unnamed(&known))
            && let Some(told) = self.ask_runtimes(id, is_in_pod).await
        {
            (known, origin) = (Some(told), Some(Origin::Socket));
        }
        let mut known = known.unwrap_or_default();
        // Podman keeps labels in a database, which only its API reads.
        if let (Some(id), "podman", true) = (&hint.id, hint.runtime, has_interface && known.labels.is_empty()) {
            known.labels = self.ask_runtimes(id, is_in_pod).await.unwrap_or_default().labels;
        }
        if known.name.is_none() {
            let own = first.name.or_else(|| self.first_process(request).name);
            known = known.with_process_name(own);
        }
        (known, origin)
    }

    /// Asks the runtimes for their root directories; true if one is new.
    async fn learn_roots(&mut self) -> bool {
        let mut learnt = false;
        for socket in &mut self.sockets {
            if let Some(root) = socket.root((self.clock)()).await {
                learnt |= self.files.add(&root);
            }
        }
        learnt
    }

    async fn ask_runtimes(&mut self, id: &str, is_in_pod: bool) -> Option<ContainerInfo> {
        for socket in &mut self.sockets {
            if let Some(known) = socket.look_up(id, is_in_pod, (self.clock)()).await {
                return Some(known);
            }
        }
        None
    }

    /// Resolves the names again that may have changed.
    async fn follow(&mut self, now: Stamp) {
        {
            let registry = lock(&self.registry);
            self.followed.retain(|id, _| registry.is_there(*id));
            self.waiting.retain(|id, _| registry.is_known(*id));
            self.silent.retain(|id, _| registry.is_known(*id));
        }
        let mut renamed: Vec<String> = Vec::new();
        if self.followed.values().any(|(_, origin)| matches!(origin, Origin::Socket)) {
            for socket in &mut self.sockets {
                renamed.extend(socket.renamed(now).await);
            }
        }
        let changed = |(request, origin): &(NameRequest, Origin)| match origin {
            Origin::File(file, version) => file.version().is_some_and(|now| now != *version),
            Origin::Socket => request.hint.id.as_ref().is_some_and(|id| renamed.contains(id)),
        };
        let changed: Vec<NameRequest> =
            self.followed.values().filter(|followed| changed(followed)).map(|(request, _)| request.clone()).collect();
        for request in changed {
            self.answer(request, Attempts::OVER, FirstProcess::UNREAD).await;
        }
    }
}

/// True unless it has never had a process.
fn had_process(request: &NameRequest, first: &FirstProcess) -> bool {
    request.had_process || first.may_exist
}

/// True if the runtime has an API socket.
fn has_interface(request: &NameRequest) -> bool {
    matches!(request.hint.runtime, "docker" | "podman" | OCI)
}

#[cfg(test)]
mod tests;
