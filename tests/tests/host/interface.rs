//! Two containers on a bridge of their own, and the counters of their interfaces.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tests::docker::{BUSYBOX, Container, Docker};
use tests::valkey::Valkey;
use tests::{eventually, offload};

use crate::world::{TIMEOUT, fresh, own};

/// A network of Docker's with nothing else on it: no other container's broadcasts, and nothing of the machine's own.
pub(crate) struct Bridge<'a> {
    pub(crate) docker: &'a Docker,
    pub(crate) name: String,
}

impl<'a> Bridge<'a> {
    pub(crate) fn new(docker: &'a Docker) -> Self {
        let name = format!("smn{}", std::process::id());
        let named = format!("com.docker.network.bridge.name={name}");
        docker.ask(&["network", "create", "--opt", &named, &name]).unwrap();
        Self { docker, name }
    }

    /// The machine's ends of all cables, and the bridge itself.
    pub(crate) fn interfaces(&self) -> Vec<String> {
        let ports = fs::read_dir(format!("/sys/class/net/{}/brif", self.name)).unwrap().flatten();
        ports.map(|port| port.file_name().into_string().unwrap()).chain([self.name.clone()]).collect()
    }

    /// Stops the search for neighbours.
    pub(crate) fn silence(&self, ends: [&End<'_>; 2]) {
        for interface in self.interfaces() {
            _ = fs::write(format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "1");
        }
        for (end, other) in [(ends[0], ends[1]), (ends[1], ends[0])] {
            let words = ["--net", "ip", "neigh", "replace", &other.address, "lladdr", &other.hardware];
            let mut command = Command::new("nsenter");
            command.args(["--target", &end.pid]).args(words).args(["dev", "eth0", "nud", "permanent"]);
            assert!(command.status().unwrap().success());
        }
    }

    pub(crate) fn offload(&self, ends: [&End<'_>; 2], on: bool) {
        for interface in self.interfaces().iter().filter(|interface| **interface != self.name) {
            offload::set(Path::new("/proc/self/ns/net"), interface, on);
        }
        ends.iter().for_each(|end| offload::set(&end.proc().join("ns/net"), "eth0", on));
    }
}

impl Drop for Bridge<'_> {
    fn drop(&mut self) {
        _ = self.docker.ask(&["network", "rm", &self.name]);
    }
}

/// A container on such a network.
pub(crate) struct End<'a> {
    pub(crate) container: Container<'a>,
    pub(crate) name: String,
    pub(crate) pid: String,
    pub(crate) address: String,
    pub(crate) hardware: String,
}

/// Bytes and packets: received, sent.
pub(crate) type Counters = [u64; 4];

impl<'a> End<'a> {
    pub(crate) fn new(bridge: &Bridge<'a>, name: &str) -> Self {
        let name = own(name);
        let container = bridge.docker.run(&["--network", &bridge.name, "--name", &name], BUSYBOX, &["sleep", "10000"]);
        let of_network =
            |field: &str| container.inspect(&format!("range .NetworkSettings.Networks}}}}{{{{.{field}}}}}{{{{end"));
        let (address, hardware) = (of_network("IPAddress"), of_network("MacAddress"));
        let pid = container.inspect(".State.Pid");
        Self { container, name, pid, address, hardware }
    }

    pub(crate) fn proc(&self) -> PathBuf {
        Path::new("/proc").join(&self.pid)
    }

    /// Counters of its interface.
    pub(crate) fn interface(&self) -> Counters {
        let text = fs::read_to_string(self.proc().join("net/dev")).unwrap();
        let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
        let numbers: Vec<u64> = line.split_whitespace().map(|number| number.parse().unwrap()).collect();
        [numbers[0], numbers[1], numbers[8], numbers[9]]
    }

    /// Counters of its interface and of its report, at a moment without packets in flight.
    pub(crate) fn counted(&self, valkey: &Valkey) -> (Counters, Counters) {
        let quiet = || {
            let before = self.interface();
            let latest = fresh(valkey, &self.name);
            (self.interface() == before).then(|| {
                let packets = |field: &str| latest.json["network"][field].as_u64().unwrap();
                let bytes = |field: &str| latest.json[field].as_u64().unwrap();
                let received = [bytes("network_rx_bytes"), packets("rx_packets")];
                (before, [received[0], received[1], bytes("network_tx_bytes"), packets("tx_packets")])
            })
        };
        eventually(TIMEOUT, quiet).expect("it is never quiet")
    }

    /// Sends bytes to another container, which listens on a port. The connection stays open.
    pub(crate) fn send(&self, to: &End<'_>, port: u16, bytes: u64) {
        // A slow receiver makes the sender's packets grow, if that is allowed.
        let take = format!("sleep 1; busybox head -c {bytes} >/dev/null; >/tmp/{port}; sleep 10000");
        let listen = format!("sleep 10000 | nc -l -p {port} | ({take})");
        to.container.exec(&["--detach"], &["sh", "-c", &listen]).unwrap();
        let listening = |table: &str| fs::read_to_string(to.proc().join("net").join(table)).unwrap();
        let listens = || ["tcp", "tcp6"].iter().any(|table| listening(table).contains(&format!(":{port:04X} ")));
        eventually(TIMEOUT, || listens().then_some(())).expect("nobody listens");
        let send = format!("(dd if=/dev/zero bs={bytes} count=1; sleep 10000) | nc {} {port}", to.address);
        self.container.exec(&["--detach"], &["sh", "-c", &send]).unwrap();
        let done = to.proc().join(format!("root/tmp/{port}"));
        eventually(TIMEOUT, || done.exists().then_some(())).expect("not all has come");
    }
}
