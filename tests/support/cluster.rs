//! A cluster of real servers on this machine.

use std::time::Duration;

use crate::valkey::Valkey;
use crate::{eventually, free_port};

const SLOTS: usize = 16384;

/// Starts `masters` nodes that share the slots, and `others` that have none. `None` if no server is installed.
pub fn start(masters: usize, others: usize, arguments: &[&str]) -> Option<Vec<Valkey>> {
    let nodes: Vec<Valkey> = (0..masters + others)
        .map(|_| {
            let bus = free_port().to_string();
            let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500", "--cluster-port", &bus];
            Valkey::start(&[&own[..], arguments].concat())
        })
        .collect::<Option<_>>()?;
    for (at, node) in nodes[..masters].iter().enumerate() {
        let (first, last) = (at * SLOTS / masters, (at + 1) * SLOTS / masters - 1);
        let _: () = node.query(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]);
        let _: () = node.query(&["CLUSTER", "SET-CONFIG-EPOCH", &(at + 1).to_string()]);
    }
    for node in &nodes[1..] {
        let bus: Vec<String> = node.query(&["CONFIG", "GET", "cluster-port"]);
        let _: () = nodes[0].query(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string(), &bus[1]]);
    }
    let good = |node: &Valkey| node.query::<String>(&["CLUSTER", "INFO"]).contains("cluster_state:ok");
    eventually(Duration::from_secs(30), || nodes.iter().all(good).then_some(())).expect("the cluster does not come up");
    Some(nodes)
}
