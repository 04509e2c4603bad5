//! Network namespaces in which TCP sends nothing again because the machine is busy: the timer waits for a minute, and
//! there are no probes.

use std::path::Path;
use std::process::Command;

use tests::offload;

/// A namespace with a loopback interface.
pub(crate) struct Loopback(pub(crate) String);

impl Loopback {
    /// `None` where this process may not.
    pub(crate) fn new() -> Option<Self> {
        let loopback = Self(format!("system-monitor-{}-lo", std::process::id()));
        let name = &loopback.0;
        let script = [
            format!("netns add {name}"),
            format!("-n {name} link set lo up"),
            format!("-n {name} route replace table local local 127.0.0.0/8 dev lo src 127.0.0.1 rto_min 60s"),
            format!("-n {name} route replace table local local 127.0.0.1 dev lo src 127.0.0.1 rto_min 60s"),
            format!("-n {name} -6 route del table local local ::1 dev lo"),
            format!("-n {name} -6 route add table local local ::1 dev lo rto_min 60s"),
        ];
        let made = script.iter().all(|words| ip(words)) && stop_probes(name);
        made.then_some(loopback)
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        ip(&format!("netns delete {}", self.0));
    }
}

/// Two namespaces with a virtual cable between them.
pub(crate) struct Cable(pub(crate) [String; 2]);

impl Cable {
    /// `None` where this process may not.
    pub(crate) fn new() -> Option<Self> {
        let cable = Self(["a", "b"].map(|end| format!("system-monitor-{}-{end}", std::process::id())));
        let [a, b] = cable.0.each_ref();
        let first = format!("link add end netns {a} type veth peer name end netns {b}");
        let script = [format!("netns add {a}"), format!("netns add {b}"), first];
        let ends = [(a, 1), (b, 2)];
        let addresses = ends.into_iter().flat_map(|(name, number)| {
            [
                format!("-n {name} address add 10.0.0.{number}/24 dev end"),
                format!("-n {name} address add fd00::{number}/64 dev end nodad"),
                format!("-n {name} link set end up"),
            ]
        });
        let routes = ends.into_iter().flat_map(|(name, number)| {
            [
                format!("-n {name} route replace 10.0.0.0/24 dev end src 10.0.0.{number} rto_min 60s"),
                format!("-n {name} -6 route replace fd00::/64 dev end metric 256 rto_min 60s"),
            ]
        });
        let laid = script.into_iter().chain(addresses).chain(routes).all(|words| ip(&words));
        (laid && cable.0.iter().all(|name| stop_probes(name))).then_some(cable)
    }

    /// Switches segmentation and receive offload at both ends.
    pub(crate) fn offload(&self, on: bool) {
        for name in &self.0 {
            offload::set(&Path::new("/run/netns").join(name), "end", on);
        }
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        for name in &self.0 {
            ip(&format!("netns delete {name}"));
        }
    }
}

/// Switches the probes of TCP off that follow a segment without an answer (`Documentation/networking/ip-sysctl.rst`,
/// `tcp_early_retrans`).
fn stop_probes(namespace: &str) -> bool {
    let write = "echo 0 >/proc/sys/net/ipv4/tcp_early_retrans";
    succeeds(Command::new("ip").args(["netns", "exec", namespace, "sh", "-c", write]))
}

fn ip(words: &str) -> bool {
    succeeds(Command::new("ip").args(words.split(' ')))
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
