//! Attacks on an agent by a container, a user, a server and clients, in the order of the schedule.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use fastrand::Rng;
use tests::agent::Agent;
use tests::cgroup::Group;
use tests::http::{Answer, ask};
use tests::{eventually, free_port};

use crate::plan::{Attack, Lie};
use crate::world::{INTERVAL, TIMEOUT, wait};

/// A user id that no account of the machine has.
const ATTACKER: u32 = 54_321;
/// The environment's variables, each nearly as long as the kernel allows (128 KiB).
const VARIABLES: usize = 12;
const VARIABLE_BYTES: usize = 120_000;
/// The length of a cgroup's name with an id at its end; the file system allows 255.
const NAME_BYTES: usize = 200;

/// An agent of the machine that reports to a server with wrong answers, and serves clients.
pub(crate) struct AttackedAgent {
    pub(crate) agent: Agent,
    port: u16,
}

impl AttackedAgent {
    pub(crate) fn start(seed: u64) -> Self {
        let port = free_port();
        let listen = format!("127.0.0.1:{port}");
        let arguments = ["--scope", "host", "--ebpf", "off", "--disk-interval", "0s", "--interval", INTERVAL];
        let arguments = [arguments.as_slice(), &["--listen", &listen]].concat();
        let attacked = Self { agent: Agent::start(lying_server(seed), &arguments, &[]), port };
        eventually(TIMEOUT, || attacked.is_fresh(SystemTime::UNIX_EPOCH)).expect("the attacked agent does not answer");
        attacked
    }

    fn get(&self, request: &str) -> Option<Answer> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        ask(stream, request.as_bytes())
    }

    /// `Some` if the latest reading was taken after this time, and the probe of life is answered.
    fn is_fresh(&self, since: SystemTime) -> Option<()> {
        let get =
            |path: &str| self.get(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        let is_alive = get("/healthz")?.status == 200;
        let all = get("/api/v1/containers")?;
        let taken = humantime::parse_rfc3339(all.json()["taken"].as_str()?).ok()?;
        (is_alive && taken > since).then_some(())
    }

    /// Waits for a reading that began after the attack.
    fn still_reports(&self) -> bool {
        let since = SystemTime::now() + Duration::from_secs(1);
        eventually(TIMEOUT, || self.is_fresh(since)).is_some()
    }

    /// Carries out one attack. False if the agent stops reporting meanwhile.
    fn survives(&self, attack: Attack) -> bool {
        match attack {
            Attack::Environment => self.survives_environment(),
            Attack::Deep(levels) => self.survives_deep(levels),
            Attack::Empty(number) => self.survives_empty(number),
            Attack::StateFile(lie) => self.survives_state_file(lie),
            Attack::SlowReaders(number) => self.survives_slow_readers(number),
            Attack::TwoHosts => {
                let answer = self.get("GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n");
                answer.is_some_and(|answer| answer.status == 400) && self.still_reports()
            }
        }
    }

    fn survives_environment(&self) -> bool {
        let group = Group::docker().unwrap().0;
        let mut command = Command::new("sleep");
        command.arg("infinity").env("CONTAINER_NAME", "evil".repeat(VARIABLE_BYTES / 4));
        command.envs((0..VARIABLES).map(|number| (format!("V{number}"), "x".repeat(VARIABLE_BYTES))));
        group.enter(&mut command);
        let mut child = command.spawn().unwrap();
        let still_reports = self.still_reports();
        child.kill().and_then(|()| child.wait()).unwrap();
        still_reports
    }

    fn survives_deep(&self, levels: usize) -> bool {
        let mut groups = vec![Group::docker().unwrap().0];
        for level in 0..levels {
            groups.push(groups[level].child(&format!("docker-{}{:064x}.scope", "d".repeat(NAME_BYTES - 76), level)));
        }
        let mut innermost = groups[levels].occupy();
        let still_reports = self.still_reports();
        innermost.kill().and_then(|()| innermost.wait()).unwrap();
        // Innermost first: a cgroup with children cannot be removed.
        while groups.pop().is_some() {}
        still_reports
    }

    fn survives_empty(&self, number: u64) -> bool {
        let around = Group::docker().unwrap().0;
        let empty: Vec<Group> = (0..number).map(|number| around.numbered_container(number)).collect();
        let still_reports = self.still_reports();
        drop(empty);
        still_reports
    }

    fn survives_state_file(&self, lie: Lie) -> bool {
        let home = tempfile::tempdir_in("/home").unwrap();
        let slice = Group::of_user(ATTACKER).unwrap();
        let id = format!("{:064x}", std::process::id());
        let group = slice.child(&format!("libpod-{id}.scope"));
        let store = home.path().join(".local/share/containers/storage/overlay-containers");
        fs::create_dir_all(&store).unwrap();
        make(lie, &store.join("containers.json"), &id);
        lchown(home.path(), Some(ATTACKER), None).unwrap();
        let mut process = group.occupy();
        let still_reports = self.still_reports();
        process.kill().and_then(|()| process.wait()).unwrap();
        drop(group);
        still_reports
    }

    /// Opens connections that send requests and read no answer, until the agent's next reading.
    fn survives_slow_readers(&self, number: usize) -> bool {
        let readers: Vec<TcpStream> = (0..number)
            .filter_map(|number| {
                let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
                let path = ["api/v1/containers", "api/v1/stream", "metrics"][number % 3];
                stream
                    .write_all(format!("GET /{path} HTTP/1.1\r\nHost: localhost\r\n\r\n").repeat(50).as_bytes())
                    .ok()?;
                Some(stream)
            })
            .collect();
        let still_reports = self.still_reports();
        drop(readers);
        still_reports
    }
}

/// Carries out the attacks. Returns those during which the agent stopped reporting.
pub(crate) fn attacks(attacked: &AttackedAgent, plan: &[(Duration, Attack)], began: Instant) -> Vec<String> {
    let mut wrong = Vec::new();
    for (at, attack) in plan {
        wait(began, *at);
        if !attacked.survives(*attack) {
            wrong.push(format!("{attack:?} at {at:?}"));
        }
    }
    wrong
}

/// Makes a file that is no list of containers where a runtime keeps that list.
fn make(lie: Lie, list: &Path, id: &str) {
    match lie {
        Lie::EndlessFile => symlink("/proc/self/pagemap", list).unwrap(),
        Lie::Pipe => assert!(Command::new("mkfifo").arg(list).status().unwrap().success()),
        Lie::TooLong => fs::write(list, "[".repeat(5 << 20)).unwrap(),
        Lie::HostileName => fs::write(list, format!(r#"[{{"id":"{id}","names":["\u001b[2J\nevil"]}}]"#)).unwrap(),
    }
    lchown(list, Some(ATTACKER), None).unwrap();
}

/// Starts a server that gives a wrong answer to each request, the same one for a whole connection. Returns its port.
fn lying_server(seed: u64) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut rng = Rng::with_seed(seed);
        for mut stream in listener.incoming().map_while(Result::ok) {
            let answer = wrong_answer(&mut rng);
            std::thread::spawn(move || {
                let mut buffer = [0; 65_536];
                while stream.read(&mut buffer).is_ok_and(|read| read > 0) && stream.write_all(&answer).is_ok() {}
            });
        }
    });
    port
}

fn wrong_answer(rng: &mut Rng) -> Vec<u8> {
    match rng.u8(0..7) {
        // Longer than the client accepts.
        0 => [b"$536870912\r\n".as_slice(), &vec![b'x'; 8 << 20]].concat(),
        1 => b"*1000000000\r\n".to_vec(),
        2 => b"*1\r\n".repeat(10_000),
        3 => [b"-ERR ".as_slice(), &b"\x1b[2J".repeat(10_000), b"\r\n"].concat(),
        // Another type than the command has.
        4 => b":7\r\n".to_vec(),
        5 => b"%1\r\n+a\r\n*0\r\n".to_vec(),
        _ => b"\x00\xff nothing\r\n".to_vec(),
    }
}
