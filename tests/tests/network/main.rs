//! Known traffic, and what the agent makes of it.
#![allow(missing_docs, clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod namespaces;

use tests::cgroup::Group;
use tests::oracle::Judged;
use tests::watched::{Load, Watched, whole};
use tests::{skip, watch};

use crate::namespaces::{Cable, Loopback};

/// Skips the test where the interfaces are read: they see nothing of loopback.
macro_rules! needs_sockets {
    ($watched:expr) => {{
        let report = $watched.report();
        if report.json["sources"]["network"] != "ebpf" {
            skip!("the network's numbers are from {}", report.json["sources"]["network"]);
        }
    }};
}

/// Bytes and packets: sent, received.
type Counters = [u64; 4];

/// Returns the counters of a report: traffic, and traffic over loopback.
fn network(report: &Judged) -> [Counters; 2] {
    let number = |field: &str| report.json[field].as_u64().unwrap_or_else(|| panic!("{field}: {:?}", report.absent));
    let loopback = ["tx_bytes", "tx_packets", "rx_bytes", "rx_packets"];
    [
        [
            number("network_tx_bytes"),
            whole(report, "network", "tx_packets"),
            number("network_rx_bytes"),
            whole(report, "network", "rx_packets"),
        ],
        loopback.map(|field| whole(report, "network", &format!("loopback_{field}"))),
    ]
}

/// Growth of the counters by a load, and the load's own words. It holds its connections open until it is dropped.
fn traffic(watched: &Watched, arguments: &[String]) -> ([Counters; 2], Vec<String>, Load) {
    let before = network(&watched.report());
    let mut load = watched.load(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let said = load.done();
    let after = network(&watched.report());
    ([0, 1].map(|part| [0, 1, 2, 3].map(|at| after[part][at] - before[part][at])), said, load)
}

/// A way for traffic: the receiver's address, and the network namespaces of sender and receiver, empty for the test's
/// own.
struct Way<'a> {
    address: &'a str,
    namespaces: [&'a str; 2],
}

impl Way<'_> {
    fn is_v6(&self) -> bool {
        self.address.contains(':') && !self.address.starts_with("::ffff:")
    }

    /// Returns the expected counters of a load, loopback apart: traffic over loopback is no other traffic.
    fn counted(&self, counters: Counters) -> [Counters; 2] {
        let [from, to] = self.namespaces;
        if from == to { [[0; 4], counters] } else { [counters, [0; 4]] }
    }

    /// The length of the IP header.
    fn header(&self) -> u64 {
        if self.is_v6() { 40 } else { 20 }
    }

    /// Segments that no program is shown when they are sent: before Linux 6.6 the answer to a connection's first segment,
    /// by IPv6.
    fn unseen(&self) -> u64 {
        u64::from(self.is_v6() && tests::kernel() < (6, 6))
    }

    fn load(&self, kind: &str, count: u64, size: u64) -> Vec<String> {
        let [from, to] = self.namespaces;
        [kind, self.address, &count.to_string(), &size.to_string(), from, to].map(str::to_owned).into()
    }
}

/// Ways over loopback. The last one is for sockets of the newer family that send packets of the older.
fn over_loopback(namespace: &str) -> [Way<'_>; 3] {
    ["127.0.0.1", "::1", "::ffff:127.0.0.1"].map(|address| Way { address, namespaces: [namespace; 2] })
}

/// Datagrams are sent, received and counted one by one.
fn assert_datagrams_are_counted(watched: &Watched, ways: &[Way<'_>], loads: &[(&str, u64, u64)]) {
    for way in ways {
        for &(kind, count, size) in loads {
            let load = way.load(kind, count, size);
            let (grown, ..) = traffic(watched, &load);
            let bytes = count * (size + 8 + way.header());
            assert_eq!(grown, way.counted([bytes, count, bytes, count]), "{load:?}");
        }
    }
}

fn assert_streams_are_counted(watched: &Watched, ways: &[Way<'_>], loads: &[(u64, u64)]) {
    for way in ways {
        for &(count, size) in loads {
            let load = way.load("tcp", count, size);
            // A segment that is sent again, because the machine is busy, comes with options of another length.
            let undisturbed = (0..10).find_map(|_| {
                let (grown, said, _open) = traffic(watched, &load);
                let ends: Vec<End> = said.iter().map(|line| End::parse(line)).collect();
                ends.iter().all(|end| end.sent_again == 0).then_some((grown, ends))
            });
            let (grown, ends) = undisturbed.expect("segments are lost within one machine");
            // The end that accepted did not count its answer to the first segment.
            let segments = ends.iter().map(|end| end.segments).sum::<u64>() + 1;
            let payload: u64 = ends.iter().map(|end| end.bytes).sum();
            // A segment has 20 bytes of TCP header and 12 of timestamps; the first of each side has 8 more of options.
            let bytes = payload + segments * (way.header() + 32) + 2 * 8;
            let unseen = way.unseen();
            let sent = [bytes - unseen * (way.header() + 32 + 8), segments - unseen];
            assert_eq!(grown, way.counted([sent[0], sent[1], bytes, segments]), "{load:?}");
        }
    }
}

#[test]
fn datagrams_are_counted_to_the_byte_and_to_the_packet() {
    let watched = watch!("udp");
    needs_sockets!(watched);
    let loopback = over_loopback("");
    assert_datagrams_are_counted(&watched, &loopback, &[("udp", 1000, 1), ("udp", 100, 1472), ("udp", 20, 64_000)]);
    // One write that the kernel cuts into datagrams.
    assert_datagrams_are_counted(&watched, &loopback, &[("udp-cut", 40, 1000), ("udp-cut", 2, 20_000)]);
}

#[test]
fn streams_are_counted_as_on_the_wire_with_the_headers_that_segmentation_adds() {
    let watched = watch!("tcp");
    needs_sockets!(watched);
    // Where none can be made, the machine is emulated and does nothing else.
    let loopback = Loopback::new();
    let namespace = loopback.as_ref().map_or("", |loopback| &loopback.0);
    assert_streams_are_counted(&watched, &over_loopback(namespace), &[(200, 10), (50, 65_536), (10, 1_000_000)]);
}

#[test]
fn between_network_namespaces_it_is_the_same_with_and_without_offload() {
    let watched = watch!("veth");
    needs_sockets!(watched);
    let Some(cable) = Cable::new() else { skip!("no network namespaces can be made here with ip") };
    let namespaces = cable.0.each_ref().map(String::as_str);
    let ways = [Way { address: "10.0.0.2", namespaces }, Way { address: "fd00::2", namespaces }];
    for offload in [true, false] {
        cable.offload(offload);
        // The last one is beyond the 1,500 bytes of the cable: it goes in fragments, and counts as the one that it is.
        assert_datagrams_are_counted(&watched, &ways, &[("udp", 100, 1), ("udp", 50, 1400), ("udp", 10, 64_000)]);
        assert_datagrams_are_counted(&watched, &ways, &[("udp-cut", 40, 1400)]);
        assert_streams_are_counted(&watched, &ways, &[(100, 10), (50, 65_536), (5, 1_000_000)]);
    }
}

/// Packets and bytes that one end of a connection says it sent.
struct End {
    segments: u64,
    bytes: u64,
    sent_again: u64,
}

impl End {
    fn parse(line: &str) -> Self {
        let mut words = line.split(' ').map(|word| word.parse().unwrap());
        let mut next = || words.next().unwrap();
        Self { segments: next(), bytes: next(), sent_again: next() }
    }
}

#[test]
fn traffic_of_other_groups_is_not_counted() {
    let watched = watch!("bystander");
    needs_sockets!(watched);
    let Some(stranger) = Group::new("talker") else { skip!("no control group can be made here") };
    let before = network(&watched.report());
    Load::start(&stranger, &["udp", "127.0.0.1", "500", "100"]).done();
    assert_eq!(network(&watched.report()), before);
}
