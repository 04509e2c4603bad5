//! Packets that a cgroup's sockets send.

use aya_ebpf::macros::cgroup_skb;
use aya_ebpf::programs::SkBuffContext;
use monitor_ebpf::add;

use crate::{charge, wire};

/// Counts one packet on its way out.
#[cgroup_skb(egress)]
fn egress(ctx: SkBuffContext) -> i32 {
    let (bytes, packets) = wire::size(&ctx);
    charge(&ctx, |network| {
        // SAFETY: the pointer is into a map value.
        unsafe {
            add(&raw mut (*network).tx_bytes, bytes);
            add(&raw mut (*network).tx_packets, packets);
        }
    })
}
