//! The reported traffic of a container, against its interface's counters.

use tests::agent::Agent;
use tests::docker;
use tests::skip;
use tests::valkey::Valkey;

use crate::interface::{Bridge, Counters, End};
use crate::world::{report, wait_for_the_machine};

/// The length of an Ethernet header, which interfaces count.
const LINK: u64 = 14;
/// The headers of a segment: IPv4, TCP, and its option of timestamps.
const SEGMENT: u64 = 20 + 20 + 12;

/// Growth of the interface's counters of `end`, and of its reports, while `happens` runs.
fn grown(end: &End<'_>, valkey: &Valkey, happens: impl FnOnce()) -> (Counters, Counters) {
    let before = end.counted(valkey);
    happens();
    let after = end.counted(valkey);
    let more = |after: Counters, before: Counters| [0, 1, 2, 3].map(|at| after[at] - before[at]);
    (more(after.0, before.0), more(after.1, before.1))
}

#[test]
fn the_traffic_of_a_container_is_what_its_interface_has_counted_with_and_without_offload() {
    const SENT: u64 = 4_000_000;
    if !tests::has("nsenter") {
        skip!("nsenter is not installed");
    }
    let (docker, valkey, _agent) = asking!();
    let bridge = Bridge::new(docker);
    let (sender, receiver) = (End::new(&bridge, "sender"), End::new(&bridge, "receiver"));
    let ends = [&sender, &receiver];
    let first = report(&valkey, &sender.name, |_| true);
    if first.json["sources"]["network"] != "ebpf" {
        skip!("the network's numbers are from {}", first.json["sources"]["network"]);
    }
    bridge.silence(ends);
    for (end, port) in [(&sender, 1001), (&receiver, 1002)] {
        bridge.offload(ends, false);
        let (interface, reported) = grown(end, &valkey, || sender.send(&receiver, port, SENT));
        let [rx_bytes, rx_packets, tx_bytes, tx_packets] = interface;
        let without_link = [rx_bytes - LINK * rx_packets, rx_packets, tx_bytes - LINK * tx_packets, tx_packets];
        assert_eq!(reported, without_link, "{}", end.name);
    }
    bridge.offload(ends, true);
    for (end, ports) in [(&sender, 2000..2010), (&receiver, 3000..3010)] {
        // On a busy machine each small write may become a packet of its own: then the test is repeated.
        let is_cut = ports.into_iter().any(|port| {
            let (interface, reported) = grown(end, &valkey, || sender.send(&receiver, port, SENT));
            let payload = |counted: Counters, header: u64| [0, 2].map(|at| counted[at] - header * counted[at + 1]);
            assert_eq!(payload(reported, SEGMENT), payload(interface, LINK + SEGMENT), "{}", end.name);
            assert!(payload(reported, SEGMENT).iter().any(|bytes| *bytes >= SENT), "{reported:?}");
            reported[1] + reported[3] > interface[1] + interface[3]
        });
        assert!(is_cut, "{}: every packet is as on the wire in spite of offload", end.name);
    }
}
